"""Read tagged sentences from CoNLL-U, CoNLL columns, `seq.in/seq.out` folders and JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from training.data.formats.faults import DataFault, Report
from training.data.formats.json_rows import json_objects
from training.data.formats.lines import read_lines
from training.data.formats.options import Located, ReadOptions, TagField
from training.data.formats.slot_folder import find_part, read_aligned
from training.data.readers.column_layout import BadLine, ColumnLayout, cells_of_line, find_layout, is_comment
from training.data.readers.columns import warn_of_spellings
from training.data.readers.schemes import (
    OUTSIDE,
    Spans,
    as_bio,
    find_spans,
    has_no_types,
    illegal_inside,
    is_bracketed,
    to_bio,
    unclosed,
)
from training.data.readers.treebanks.conllu_line import FORM, conllu_cells, is_empty
from training.data.records import TaggedSentence

_CONLLU_COLUMN: dict[TagField, int] = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
#: With more tags, spellings are not compared: they are lemmas or features.
_MAX_TYPES = 200
_MAY_BE_EMPTY: frozenset[TagField] = frozenset({"feats", "lemma"})
_JSON_WORDS = ("words", "tokens")
_JSON_TAGS = ("tags", "ner_tags", "pos_tags", "labels")
_JSON_FORM = 'each line is like {"words": ["play", "jazz"], "tags": ["O", "B-genre"], "label": "PlayMusic"}'


@dataclass
class _Sentence:
    """Sentence as in the file: words, tags, and the line of each word."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    label: str = ""

    def add(self, word: str, tag: str, line: int) -> None:
        self.words.append(word)
        self.tags.append(tag)
        self.lines.append(line)


class _Word(NamedTuple):
    """Word with its tag, and its number in the sentence where the file has one."""

    word: str
    tag: str
    number: int | None = None


#: Parses a line that is not blank; None for a line without a word.
WordParser = Callable[[str], _Word | None]


def read_conllu(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read FORM and one field of each word. Comments, multiword-token ranges and empty nodes are skipped."""
    parse = partial(_conllu_word, tag_field=options.tag_field)
    return _as_records(_collect(read_lines(path, report, options.encoding), parse, path, report), path, report)


def read_columns(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read one word per line, with its tag in a column; a blank line ends the sentence.

    Columns are separated by tabs if most lines have one, else by blanks. Comments, `-DOCSTART-` lines and a first line
    that names the columns are skipped.
    """
    lines = read_lines(path, report, options.encoding)
    layout = find_layout(path, lines, options, report)
    parse = partial(_column_word, layout=layout)
    kept = ["# " if number == layout.header else line for number, line in enumerate(lines, start=1)]
    return _as_records(_collect(kept, parse, path, report), path, report)


def _collect(lines: list[str], parse: WordParser, path: Path, report: Report) -> list[_Sentence]:
    """Group words into sentences at blank lines. A sentence with a faulty line is dropped as a whole."""
    sentences, sentence, usable, previous = [], _Sentence(), True, 0
    for number, line in enumerate((*lines, ""), start=1):
        found = None
        if line.strip():
            try:
                found = parse(line)
            except BadLine as error:
                report.fault(path, number, error.what, error.allowed)
                usable = False
            if found is None:
                continue
        restarts = found is not None and found.number is not None and found.number <= previous
        if restarts and sentence.words:
            report.warn(
                path,
                number,
                f"word {found.number if found else 0} after word {previous}, without a blank line: a new sentence",
            )
        if found is None or restarts:
            if usable and sentence.words:
                sentences.append(sentence)
            sentence, usable, previous = _Sentence(), True, 0
        if found is not None:
            sentence.add(found.word, found.tag, number)
            previous = found.number or 0
    return sentences


def _conllu_word(line: str, tag_field: TagField) -> _Word | None:
    cells = conllu_cells(line)
    if cells is None:
        return None
    tag = cells[_CONLLU_COLUMN[tag_field]].strip(" ")
    if is_empty(tag) and tag_field not in _MAY_BE_EMPTY:
        raise BadLine(f"{tag_field.upper()} is empty", "every word needs a tag; choose another field")
    return _Word(cells[FORM].strip(" "), tag, int(cells[0]))


def _column_word(line: str, layout: ColumnLayout) -> _Word | None:
    if is_comment(line, layout):
        return None
    cells = cells_of_line(line, layout.separator)
    if len(cells) == 1:
        raise BadLine("only one column", "a line has a word and its tag, separated by a tab or a blank")
    if len(cells) != layout.num_columns:
        raise BadLine(f"the number of columns is {len(cells)}", f"it is {layout.num_columns} in the other lines")
    word, tag = layout.word_of(cells), layout.tag_of(cells)
    if not word.strip() or not tag.strip():
        raise BadLine(f"the {'tag' if word.strip() else 'word'} is empty", "every line needs a word and a tag")
    number = layout.number_of(cells)
    return _Word(word, tag, number)


def read_slots(path: Path, report: Report) -> list[Located]:
    """Read `seq.in` (words separated by blanks), `seq.out` (one tag per word) and optionally `label`, line by line."""
    labels = _labels_of_lines(path, report)
    sentences = []
    for number, (text, tag_line) in read_aligned(path, "seq.in", "seq.out", report):
        words, tags = text.split(), tag_line.split()
        if len(words) != len(tags):
            report.fault(
                path / "seq.out", number, f"{len(tags)} tags for the {len(words)} words of seq.in", "one tag per word"
            )
            continue
        sentences.append(_Sentence(words, tags, [number] * len(words), labels.get(number, "")))
    return _as_records(sentences, path / "seq.out", report)


def _labels_of_lines(folder: Path, report: Report) -> dict[int, str]:
    """Labels by line number of `seq.in`, if the folder has a file of them."""
    if not find_part(folder, "label").is_file():
        return {}
    return {number: label.strip() for number, (_, label) in read_aligned(folder, "seq.in", "label", report)}


def read_tagged_jsonl(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read objects with `words` and `tags`, lists of the same length, and optionally a `label` of the text.

    `tokens` is another name of the words, and `ner_tags`, `pos_tags` and `labels` are others of the tags.
    """
    sentences = []
    for number, found in json_objects(path, read_lines(path, report, options.encoding), report):
        try:
            sentences.append(_sentence_of_json(found, number))
        except BadLine as error:
            report.fault(path, number, error.what, error.allowed)
    return _as_records(sentences, path, report)


def _sentence_of_json(found: dict[str, Any], number: int) -> _Sentence:
    words = next((found[name] for name in _JSON_WORDS if name in found), None)
    tags = next((found[name] for name in _JSON_TAGS if name in found), None)
    label = found.get("label", "")
    if isinstance(found.get("text"), str) and words is None:
        raise BadLine("a text with places of characters, not words with tags", _JSON_FORM)
    if isinstance(tags, list) and tags and all(isinstance(tag, int) for tag in tags):
        raise BadLine("the tags are numbers", f"write their names; {_JSON_FORM}")
    if not _are_texts(words) or not _are_texts(tags) or not isinstance(label, str):
        raise BadLine("words and tags must be lists of text and a label text, none of them blank", _JSON_FORM)
    if len(words) != len(tags):
        raise BadLine(f"{len(tags)} tags for {len(words)} words", "one tag per word")
    return _Sentence(words, [tag.strip(" ") for tag in tags], [number] * len(words), label.strip())


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item.strip() for item in value)


def _as_records(sentences: list[_Sentence], path: Path, report: Report) -> list[Located]:
    """Records of the sentences, with span tags converted to BIO. A sentence with a tag that cannot be is dropped."""
    tags_of_sentences = [sentence.tags for sentence in sentences]
    spans = find_spans(tags_of_sentences)
    if spans is None:
        _doubt_plain_tags(tags_of_sentences, path, report)
    else:
        _warn_of_odd_tags(sentences, spans, path, report)
        sentences = [_normal(sentence, spans) for sentence in sentences if _is_usable(sentence, spans)]
        _warn_of_illegal_tags(sentences, spans, path, report)
    _state_tags(sentences, spans, path, report)
    records = []
    for sentence in sentences:
        tags = tuple(sentence.tags) if spans is None else to_bio(sentence.tags)
        records.append(Located(TaggedSentence(tuple(sentence.words), tags, sentence.label), sentence.lines[0]))
    return records


def _state_tags(sentences: Sequence[_Sentence], spans: Spans | None, path: Path, report: Report) -> None:
    distinct = {tag for sentence in sentences for tag in sentence.tags}
    if not sentences:
        return
    if spans is None:
        report.facts(path)["tags"] = f"{len(distinct):,}, one a word, no spans"
    else:
        types = {tag.partition("-")[2] for tag in distinct} - {""}
        as_bio = "" if spans.scheme == "bio" and spans.spelling == "B-TYPE" else ", read as BIO"
        spelt = "" if spans.spelling == "B-TYPE" else f", spelt {spans.spelling}"
        report.facts(path)["tags"] = f"spans in {spans.scheme.upper()}{spelt}{as_bio}, {len(types):,} types"
        distinct = types
    if len(distinct) <= _MAX_TYPES:
        warn_of_spellings(sorted(distinct), path, report)


def _doubt_plain_tags(tags_of_sentences: Sequence[Sequence[str]], path: Path, report: Report) -> None:
    """Refuse brackets, and warn of tags that were meant as spans."""
    tags = {tag for tags in tags_of_sentences for tag in tags}
    if is_bracketed(tags):
        allowed = "convert them to BIO: B-TYPE, I-TYPE and O"
        raise DataFault(path, None, "the tags are brackets, such as (PERSON* and *), as in CoNLL-2012", allowed)
    if has_no_types(tags):
        named = ", ".join(sorted(tags))
        report.warn(
            path, None, f"the tags {named} have no types: they are read as plain tags", "write B-TYPE for spans"
        )


def _warn_of_odd_tags(sentences: Sequence[_Sentence], spans: Spans, path: Path, report: Report) -> None:
    for tag, number in _places(sentences):
        if tag in spans.odd:
            if spans.tags.get(tag) == OUTSIDE:
                report.warn(path, number, f"tag {tag!r} is {spans.odd[tag]}")
            else:
                report.fault(path, number, f"tag {tag!r}: {spans.odd[tag]}")


def _places(sentences: Sequence[_Sentence]) -> Iterator[tuple[str, int]]:
    for sentence in sentences:
        yield from zip(sentence.tags, sentence.lines, strict=True)


def _is_usable(sentence: _Sentence, spans: Spans) -> bool:
    return all(tag not in spans.odd or spans.tags.get(tag) == OUTSIDE for tag in sentence.tags)


def _normal(sentence: _Sentence, spans: Spans) -> _Sentence:
    return replace(sentence, tags=[spans.tags[tag] for tag in sentence.tags])


def _warn_of_illegal_tags(sentences: list[_Sentence], spans: Spans, path: Path, report: Report) -> None:
    """Warn of tags that continue no span, unless that is how the scheme starts one."""
    if spans.scheme == "iob1":
        return
    for sentence in sentences:
        for index in illegal_inside(as_bio(sentence.tags)):
            before = sentence.tags[index - 1] if index else "the start of the sentence"
            tag = sentence.tags[index]
            report.warn(path, sentence.lines[index], f"{tag} after {before} continues no span; read as B-{tag[2:]}")
        for index in unclosed(sentence.tags) if spans.scheme != "bio" else ():
            what = f"the span of {sentence.tags[index]} has no end in {spans.scheme.upper()}; it ends here"
            report.warn(path, sentence.lines[index], what)
