"""Translation: an encoder reads the source once, a decoder with attention generates the target step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from service.bundle.load import MANIFEST_FILE, Bundle
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.bundle.task_options import TranslationOptions
from service.bundle.tokenizer import EOS, SPECIAL_TOKENS, TextTokenizer
from service.bundle.word_joiners import Place, join_words
from service.errors import BundleCorrupt, InvalidInput, UnrollError
from service.tasks.core.task import (
    Answer,
    Array,
    InputStatistics,
    PredictInput,
    input_statistics_of,
    kind_of,
    require_at_most,
    require_short_text,
)
from service.tasks.seq2seq.copying import extended_ids
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_constraint import WordConstraint
from service.tasks.seq2seq.grammar.word_grammar import WordGrammar
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions
from service.tasks.seq2seq.seq2seq import Seq2Seq, Seq2SeqAnswer, Seq2SeqParameters


class TranslationParameters(Seq2SeqParameters):
    """Parameters of beam search. Defaults, which `max_new_tokens` derives from the source, are in the manifest."""

    constrained: bool | None = Field(
        default=None, description="answer only what the model's grammar parses; the default where it has one"
    )


class Attention(Answer):
    """`weights[i][j]`: attention to source token j when target token i was chosen. Each row sums to 1."""

    source_tokens: list[str] = Field(description="including the end token, which the encoder reads too")
    target_tokens: list[str]
    weights: list[list[float]]


class CopiedWord(Answer):
    """A word or mark that was copied: `text[start:end]` is `input[source_start:source_end]`, in code points."""

    start: int
    end: int
    source_start: int
    source_end: int


class TranslationAnswer(Seq2SeqAnswer):
    """The best translation found; `score` unless `return_score` is false, `attention` only on request."""

    attention: Attention | None = Field(default=None, exclude_if=lambda attention: attention is None)
    copied: list[CopiedWord] | None = Field(
        default=None,
        exclude_if=lambda copied: copied is None,
        description="what was copied from the input; only of models that copy",
    )


@dataclass(frozen=True, eq=False)
class TranslationExample:
    """One source sentence, encoded with its end token, and how to search.

    Of models that copy, `source_tokens` are as written, and `places` where they stand in the input.
    """

    source_ids: list[int]
    source_tokens: list[str]
    plan: SearchOptions
    copy_ids: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.source_ids)

    @property
    def num_rows(self) -> int:
        return self.plan.num_beams


class Translation(Seq2Seq[TranslationExample]):
    """Translates a text."""

    parameters_type = TranslationParameters
    answer_type = TranslationAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TranslationOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for translation")
        super().__init__(bundle, manifest.options)
        self._source = bundle.tokenizers["source"]
        self._tokens_beyond_source = manifest.options.tokens_beyond_source
        if manifest.options.copying:
            self.copy_ids = padded_copy_ids
        self._grammar = grammar_of(bundle, manifest.options)

    def preprocess(self, value: PredictInput, parameters: TranslationParameters) -> TranslationExample:
        """Tokenise a text. A list of words is refused, because the tokenizer splits text by its own rules."""
        if not isinstance(value, str):
            raise InvalidInput(f"a translation takes a text, not {kind_of(value)}")
        max_tokens = self._limits.max_input_tokens
        text = require_short_text(value, max_tokens)
        ids, tokens = self._source.encode_with_tokens(text)
        if not ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(ids), max_tokens, "tokens")
        plan = self.plan(parameters, 2 * len(ids) + self._tokens_beyond_source)
        example = TranslationExample([*ids, EOS], [*tokens, SPECIAL_TOKENS[EOS]], plan)
        if self.copy_ids is not None:
            example = self._example_to_copy(text, ids, plan)
        return self._constrained(example, parameters)

    def _constrained(self, example: TranslationExample, parameters: TranslationParameters) -> TranslationExample:
        """The example with the grammar, unless the request does without it or the model has none."""
        if self._grammar is None:
            if parameters.constrained:
                raise InvalidInput(
                    "this model has no grammar, so its answers cannot be constrained by one",
                    ("parameters", "constrained"),
                )
            return example
        if parameters.constrained is False:
            return example
        max_steps, shortest = example.plan.max_steps, int(self._grammar.shortest) + 1
        if parameters.max_new_tokens is not None and max_steps < shortest:
            raise InvalidInput(
                f"max_new_tokens is {max_steps}, and the shortest answer that the grammar of this model parses has "
                f"{shortest} tokens, the end token counted",
                ("parameters", "max_new_tokens"),
            )
        size, words = self._target.vocabulary_size, example.source_tokens
        copied = {token: words[token - size] for token in example.copy_ids if token >= size}
        constraint = WordConstraint(self._grammar, copied)
        return replace(example, plan=example.plan._replace(max_steps=max(max_steps, shortest), constraint=constraint))

    def _example_to_copy(self, text: str, ids: list[int], plan: SearchOptions) -> TranslationExample:
        """The example of a model that copies. The target tokenizer keeps the case and the digits of words."""
        words = self._target.words(text)
        if len(words) != len(ids):
            raise InvalidInput("the two tokenizers of this model do not cut the text alike")
        copy_ids = [*extended_ids(self._target, words), EOS]
        return TranslationExample(
            [*ids, EOS], [*words, SPECIAL_TOKENS[EOS]], plan, copy_ids, places_of(self._source, text)
        )

    def encoder_feeds(self, examples: Sequence[TranslationExample]) -> tuple[dict[str, Array], IntArray]:
        return source_feeds(examples)

    def postprocess(self, example: TranslationExample, output: Hypothesis | UnrollError) -> TranslationAnswer:
        return TranslationAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: TranslationExample) -> InputStatistics:
        return input_statistics_of(example.source_ids[:-1])

    def text(self, example: TranslationExample, hypothesis: Hypothesis) -> dict[str, Any]:
        """The `text`; of models that copy also `copied`."""
        if self.copy_ids is None:
            return super().text(example, hypothesis)
        text, places = join_words(self._words(example, hypothesis))
        pairs = zip(places, hypothesis.origins, strict=True)
        from_source = [(place, example.places[origin]) for place, origin in pairs if origin >= 0]
        copied = [
            {"start": place.start, "end": place.end, "source_start": origin.start, "source_end": origin.end}
            for place, origin in from_source
        ]
        return {"text": text, "copied": copied}

    def _words(self, example: TranslationExample, hypothesis: Hypothesis) -> list[str]:
        """The tokens of a hypothesis, those with extended ids as the source writes them."""
        size = self._target.vocabulary_size
        return [
            self._target.token(token) if token < size else example.source_tokens[token - size]
            for token in hypothesis.tokens
        ]

    def attention(self, example: TranslationExample, hypothesis: Hypothesis) -> dict[str, Any]:
        return {
            "source_tokens": example.source_tokens,
            "target_tokens": self._words(example, hypothesis),
            "weights": hypothesis.attention.tolist(),
        }


def grammar_of(bundle: Bundle, options: TranslationOptions) -> WordGrammar | None:
    """The grammar of a bundle, matched with its target vocabulary; None if it has none.

    Raises:
        BundleCorrupt: it cannot be used.
    """
    if not options.grammar:
        return None
    limit = bundle.manifest.limits.max_new_tokens
    try:
        return WordGrammar(options.grammar, bundle.tokenizers["target"], options.copying, limit)
    except GrammarError as error:
        raise BundleCorrupt(bundle.path / MANIFEST_FILE, f"options.grammar: {error}") from error


def source_feeds(examples: Sequence[TranslationExample]) -> tuple[dict[str, Array], IntArray]:
    """The sources as one padded batch, and their lengths."""
    sequences = [example.source_ids for example in examples]
    lengths = lengths_of(sequences)
    return {"tokens": pad_ids(sequences), "lengths": lengths}, lengths


def padded_copy_ids(examples: Sequence[TranslationExample]) -> IntArray:
    """`[examples, time]`: the extended id of each source position, 0 beyond its length."""
    return pad_ids([example.copy_ids for example in examples])


def places_of(source: TextTokenizer, text: str) -> list[Place]:
    """Where the tokens of a source stand in it.

    The tokenizer counts the character before an inserted joiner to the token after it, which is undone.
    """
    places, end = list[Place](), 0
    for placed in source.encode_with_places(text):
        places.append(Place(max(placed.start, end), placed.end))
        end = placed.end
    return places
