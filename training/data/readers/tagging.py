"""Read tagged sentences from CoNLL-U, CoNLL columns, `seq.in/seq.out` folders and JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeGuard

from training.data.formats.faults import Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Located, ReadOptions, TagField
from training.data.formats.slot_folder import find_part, read_aligned
from training.data.readers.schemes import detect_scheme, illegal_inside, to_bio
from training.data.records import TaggedSentence

CONLLU_NUM_COLUMNS = 10
_CONLLU_FORM = 1
_CONLLU_COLUMN: dict[TagField, int] = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
_MAY_BE_EMPTY: frozenset[TagField] = frozenset({"feats", "lemma"})
_DOCUMENT_START = "-DOCSTART-"
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


class _BadLine(Exception):
    """Fault in a line and what is allowed instead; `_collect` adds file and line number."""

    def __init__(self, what: str, allowed: str) -> None:
        self.what = what
        self.allowed = allowed


#: Parses a line that is not blank into word and tag; None for a line without a word.
WordParser = Callable[[str], tuple[str, str] | None]


def read_conllu(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read FORM and one field of each word. Comments, multiword-token ranges and empty nodes are skipped."""
    parse = partial(_conllu_word, tag_field=options.tag_field)
    return _as_records(_collect(read_lines(path, report), parse, path, report), path, report)


def read_columns(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read one word per line, with its tag in a column; a blank line ends the sentence.

    Columns are separated by tabs if the file has any, else by blanks. In a file with tabs, a line that starts with `#`
    and has no tab is a comment. `-DOCSTART-` lines are skipped.
    """
    lines = read_lines(path, report)
    separator = "\t" if any("\t" in line for line in lines if line.strip()) else None
    first = next((line for line in lines if line.strip() and not line.startswith(("# ", _DOCUMENT_START))), "")
    parse = partial(_column_word, separator=separator, num_columns=len(_cells(first, separator)), options=options)
    return _as_records(_collect(lines, parse, path, report), path, report)


def _collect(lines: list[str], parse: WordParser, path: Path, report: Report) -> list[_Sentence]:
    """Group words into sentences at blank lines. A sentence with a faulty line is dropped as a whole."""
    sentences, sentence, usable = [], _Sentence(), True
    for number, line in enumerate((*lines, ""), start=1):
        if not line.strip():
            if usable and sentence.words:
                sentences.append(sentence)
            sentence, usable = _Sentence(), True
            continue
        try:
            found = parse(line)
        except _BadLine as error:
            report.fault(path, number, error.what, error.allowed)
            usable = False
            continue
        if found:
            sentence.add(*found, number)
    return sentences


def _conllu_word(line: str, tag_field: TagField) -> tuple[str, str] | None:
    if line.startswith("#"):
        return None
    cells = line.split("\t")
    if len(cells) != CONLLU_NUM_COLUMNS:
        raise _BadLine(f"{len(cells)} columns", f"CoNLL-U has {CONLLU_NUM_COLUMNS}, separated by tabs")
    if "-" in cells[0] or "." in cells[0]:
        return None
    if not cells[0].isdecimal():
        raise _BadLine(f"the id is {cells[0]!r}", "it must be a number such as 3, 3-4 or 3.1")
    word, tag = cells[_CONLLU_FORM], cells[_CONLLU_COLUMN[tag_field]]
    if not word.strip():
        raise _BadLine("the word is empty", "write _ for a word that is not known")
    if tag.strip() in ("_", "") and tag_field not in _MAY_BE_EMPTY:
        raise _BadLine(f"{tag_field.upper()} is empty", "every word needs a tag; choose another field")
    return word, tag


def _column_word(line: str, separator: str | None, num_columns: int, options: ReadOptions) -> tuple[str, str] | None:
    if line.startswith(_DOCUMENT_START) or (separator and line.startswith("#") and separator not in line):
        return None
    cells = _cells(line, separator)
    if len(cells) == 1:
        raise _BadLine("only one column", "a line has a word and its tag, separated by a tab or a blank")
    if len(cells) != num_columns:
        raise _BadLine(f"the number of columns is {len(cells)}", f"it is {num_columns} in the first line of the file")
    word, tag = _cell(cells, options.word_column), _cell(cells, options.tag_column)
    if not word.strip() or not tag.strip():
        raise _BadLine(f"the {'tag' if word.strip() else 'word'} is empty", "every line needs a word and a tag")
    return word, tag


def _cells(line: str, separator: str | None) -> list[str]:
    """Split only at tabs and blanks: words may contain any other white space, such as U+00A0."""
    return line.split(separator) if separator else re.split("[ \t]+", line.strip(" "))


def _cell(cells: list[str], column: int) -> str:
    """Cell of a column, counted from 1, or from the end if negative."""
    index = column - 1 if column > 0 else len(cells) + column
    if column == 0 or not 0 <= index < len(cells):
        raise _BadLine(f"no column {column}", f"there are {len(cells)}, counted from 1; -1 is the last")
    return cells[index]


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


def read_tagged_jsonl(path: Path, report: Report) -> list[Located]:
    """Read one object per line: `words` and `tags`, lists of the same length, and optionally a `label` of the text."""
    sentences = []
    for number, line in enumerate(read_lines(path, report), start=1):
        if not line.strip():
            continue
        try:
            sentences.append(_sentence_of_json(line, number))
        except _BadLine as error:
            report.fault(path, number, error.what, error.allowed)
    return _as_records(sentences, path, report)


def _sentence_of_json(line: str, number: int) -> _Sentence:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise _BadLine(f"invalid JSON: {error}", _JSON_FORM) from error
    if not isinstance(found, dict):
        raise _BadLine(f"a JSON {type(found).__name__}, not an object", _JSON_FORM)
    words, tags, label = found.get("words"), found.get("tags"), found.get("label", "")
    if not _are_texts(words) or not _are_texts(tags) or not isinstance(label, str):
        raise _BadLine("words and tags must be lists of text and a label text, none of them blank", _JSON_FORM)
    if len(words) != len(tags):
        raise _BadLine(f"{len(tags)} tags for {len(words)} words", "one tag per word")
    return _Sentence(words, tags, [number] * len(words), label.strip())


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item.strip() for item in value)


def _as_records(sentences: list[_Sentence], path: Path, report: Report) -> list[Located]:
    """Records of the sentences, with span tags converted to BIO."""
    scheme = detect_scheme([sentence.tags for sentence in sentences])
    if scheme == "bio":
        _warn_of_illegal_tags(sentences, path, report)
    records = []
    for sentence in sentences:
        tags = tuple(sentence.tags) if scheme is None else to_bio(sentence.tags)
        records.append(Located(TaggedSentence(tuple(sentence.words), tags, sentence.label), sentence.lines[0]))
    return records


def _warn_of_illegal_tags(sentences: list[_Sentence], path: Path, report: Report) -> None:
    for sentence in sentences:
        for index in illegal_inside(sentence.tags):
            before = sentence.tags[index - 1] if index else "the start of the sentence"
            tag = sentence.tags[index]
            report.warn(path, sentence.lines[index], f"{tag} after {before} continues no span; read as B-{tag[2:]}")
