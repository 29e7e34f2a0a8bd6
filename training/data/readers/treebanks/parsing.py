"""Read parsed sentences from CoNLL-U: words, parts of speech, features, heads, relations and lemmas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from training.data.formats.faults import Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, Located, ReadOptions
from training.data.readers.column_layout import BadLine
from training.data.readers.columns import warn_of_spellings
from training.data.readers.treebanks.conllu_line import (
    DEPREL,
    FEATS,
    FORM,
    HEAD,
    LEMMA,
    NOTHING,
    UPOS,
    conllu_cells,
    is_empty,
    number_of,
    shown,
)
from training.data.readers.treebanks.dependency_tree import fault_of_tree
from training.data.readers.treebanks.surface import TEXT_COMMENT, SurfaceLines
from training.data.records import ParsedSentence

_SENTENCE_ID = "# sent_id"


class _Word(NamedTuple):
    """A word as in the file, with its line."""

    form: str
    tag: str
    feats: str
    head: int
    relation: str
    lemma: str
    line: int


@dataclass
class _Sentence:
    """Sentence as in the file; `name` is its sent_id. It is not usable where a line of it is faulty."""

    name: str = ""
    words: list[_Word] = field(default_factory=list)
    is_usable: bool = True
    surface: SurfaceLines = field(default_factory=SurfaceLines)


def read_parsed(path: Path, _format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read the words of each sentence, and where they stand in its text if there is one. Empty nodes are skipped.

    A sentence whose heads are no tree is a fault, told with its line and its sent_id or first words.
    """
    records, misplaced = [], list[_Sentence]()
    for sentence in _sentences(read_lines(path, report, options.encoding), path, report):
        fault = fault_of_tree([word.head for word in sentence.words])
        if fault is not None:
            what = f"{fault.what}, in the sentence {_shown(sentence)}"
            report.fault(path, sentence.words[fault.word - 1].line, what, fault.allowed)
        else:
            record = _record(sentence)
            records.append(Located(record, sentence.words[0].line))
            if record.surface is None and sentence.surface.text is not None:
                misplaced.append(sentence)
    _warn_of_texts(misplaced, path, report)
    _state(records, path, report)
    return records


def _sentences(lines: Sequence[str], path: Path, report: Report) -> Iterator[_Sentence]:
    """Sentences whose lines can all be read; they end at blank lines."""
    sentence = _Sentence()
    for number, line in enumerate((*lines, ""), start=1):
        if not line.strip():
            if sentence.words and sentence.is_usable:
                yield sentence
            sentence = _Sentence()
        elif line.startswith(_SENTENCE_ID):
            sentence.name = line.partition("=")[2].strip()
        else:
            sentence.surface.read(line)
            _read_line(line, number, sentence, path, report)


def _read_line(line: str, number: int, sentence: _Sentence, path: Path, report: Report) -> None:
    try:
        cells = conllu_cells(line)
        if cells is None:
            return
        expected = len(sentence.words) + 1
        if int(cells[0]) != expected and sentence.is_usable:
            allowed = "ids count the words of a sentence from 1, as HEAD refers to them; a blank line ends it"
            raise BadLine(f"the id is {cells[0]} where {expected} is due", allowed)
        sentence.words.append(_word(cells, number))
    except BadLine as error:
        sentence.is_usable = False
        report.fault(path, number, f"{error.what}, in the sentence {_shown(sentence)}", error.allowed)


def _word(cells: Sequence[str], line: int) -> _Word:
    if is_empty(cells[UPOS]):
        raise BadLine("UPOS is empty", "every word needs a part of speech")
    head, relation = cells[HEAD].strip(), cells[DEPREL].strip()
    number = number_of(head)
    if number is None:
        what = "HEAD is empty" if is_empty(head) else f"HEAD is {shown(head)}"
        raise BadLine(what, "HEAD is 0 for the root, or the id of another word of the sentence")
    if is_empty(relation):
        raise BadLine("DEPREL is empty", "every word needs a relation to its head, such as nsubj or root")
    feats = NOTHING if is_empty(cells[FEATS]) else cells[FEATS].strip()
    form, lemma = cells[FORM].strip(" "), cells[LEMMA].strip(" ") or NOTHING
    return _Word(form, cells[UPOS].strip(), feats, number, relation, lemma, line)


def _record(sentence: _Sentence) -> ParsedSentence:
    forms, tags, feats, heads, relations, lemmas, _ = zip(*sentence.words, strict=True)
    return ParsedSentence(forms, tags, heads, relations, feats, lemmas, sentence.surface.surface())


def _shown(sentence: _Sentence) -> str:
    if sentence.name:
        return sentence.name
    words = " ".join(word.form for word in sentence.words[:4])
    return repr(words) if words else "that begins here"


def _warn_of_texts(misplaced: Sequence[_Sentence], path: Path, report: Report) -> None:
    """Warn of sentences whose text is given, but does not have their tokens; of all of them at the first."""
    if misplaced:
        first = misplaced[0]
        what = f"the tokens of the sentence {_shown(first)} are not those of its `{TEXT_COMMENT} ...`"
        others = f" (the first of {len(misplaced):,} such sentences)" if len(misplaced) > 1 else ""
        allowed = "it has all words in their order, or the multiword tokens, whose lines stand before their words"
        report.warn(path, first.words[0].line, what + others, allowed)


def _state(records: Sequence[Located], path: Path, report: Report) -> None:
    """State what was understood, and warn of labels that differ in nothing but case; lemmas are counted by word."""
    parsed = [each.record for each in records if isinstance(each.record, ParsedSentence)]
    if not parsed:
        return
    facts = report.facts(path)
    for name, of_record in (("parts of speech", "tags"), ("relations", "relations"), ("features", "feats")):
        distinct = {label for record in parsed for label in getattr(record, of_record)} - {NOTHING}
        facts[name] = f"{len(distinct):,}"
        if of_record != "feats":
            warn_of_spellings(sorted(distinct), path, report)
    lemmas = Counter(lemma == NOTHING for record in parsed for lemma in record.lemmas)
    facts["lemmas"] = f"{lemmas[False]:,} of {lemmas.total():,} words" if lemmas[False] else "none: the column is empty"
    facts["raw text"] = _stated_surfaces(parsed)


def _stated_surfaces(parsed: Sequence[ParsedSentence]) -> str:
    """How many sentences have a text in which all of their tokens stand."""
    found = sum(record.surface is not None for record in parsed)
    if not found:
        return f"none: no sentence has a comment `{TEXT_COMMENT} ...` that holds its words"
    return f"{found:,} of {len(parsed):,} sentences"
