"""Target texts that the grammar of a recipe does not parse: no constrained answer can be like them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from service.bundle.task_options import TrainedTask
from service.bundle.tokenizer import TextTokenizer
from service.tasks.seq2seq.grammar.word_grammar import ParseFault, TextGrammar
from training.config.recipe import Recipe, TokenizerConfig
from training.data.formats.options import Located, ReadOptions
from training.data.public.locate import find_dataset, locate
from training.data.read import read_located
from training.data.records import Record, SentencePair

#: Rows that a remark tells of.
_MAX_TOLD: Final = 5


class Unparsed(NamedTuple):
    """A target, and where it breaks."""

    pair: SentencePair
    fault: ParseFault


class Row(NamedTuple):
    """A row of a file whose target does not parse."""

    path: str
    line: int
    fault: ParseFault


def unparsed(grammar: TextGrammar, config: TokenizerConfig, records: Iterable[Record]) -> Iterator[Unparsed]:
    """The targets among some records that do not parse, cut into words as the tokenizer of `config` cuts them."""
    from training.preprocessing.vocabulary import word_tokenizer  # loads torch, which evaluation does without

    as_written = config.model_copy(update={"lowercase": False, "zero_digits": False})
    cutting = TextTokenizer(word_tokenizer([], as_written))
    for pair in records:
        if isinstance(pair, SentencePair) and (fault := grammar.fault(cutting.words(pair.target))) is not None:
            yield Unparsed(pair, fault)


def unparsed_rows(
    grammar: TextGrammar, task: TrainedTask, config: TokenizerConfig, path: str, options: ReadOptions | None = None
) -> list[Row]:
    """The rows of a file of a task whose targets do not parse."""
    located = read_located(task, path, options)
    lines = _lines(located)
    found = unparsed(grammar, config, (each.record for each in located))
    return [Row(path, lines[target.pair], target.fault) for target in found]


def remark(recipe: Recipe, grammar: str, part: str, records: Sequence[Record]) -> str:
    """How many targets of a part do not parse, and where the first of them stand; empty if all do."""
    found = list(unparsed(TextGrammar(grammar), recipe.tokenizer, records))
    if not found:
        return ""
    lines, file = _lines(_located(recipe, part)), _path_of(recipe, part)
    told = [
        f"  {file}:{lines[target.pair]}: {target.fault}" if target.pair in lines else f"  {target.fault}"
        for target in found[:_MAX_TOLD]
    ]
    more = [f"  and {len(found) - _MAX_TOLD:,} more"] if len(found) > _MAX_TOLD else []
    what = f"{len(found):,} of {len(records):,} targets of {part} do not parse by network.grammar"
    return "\n".join([f"{what}, so that no constrained answer is like them:", *told, *more])


def _lines(located: Sequence[Located]) -> dict[Record, int]:
    """The line on which each record stands first."""
    lines: dict[Record, int] = {}
    for record, line in located:
        lines.setdefault(record, line)
    return lines


def _located(recipe: Recipe, part: str) -> list[Located]:
    """The records of a part with their lines."""
    data = recipe.data
    if not data.dataset:
        return read_located(recipe.task, _path_of(recipe, part), data.read)
    entry = find_dataset(data.dataset)
    given = data.read.model_dump(exclude_defaults=True)
    return read_located(recipe.task, _path_of(recipe, part), entry.options.model_copy(update=given))


def _path_of(recipe: Recipe, part: str) -> str | Path:
    """The file of a part; without a dev file dev is a share of train."""
    data = recipe.data
    if data.dataset:
        return locate(data.dataset, part)
    return data.dev if part == "dev" and data.dev else data.train
