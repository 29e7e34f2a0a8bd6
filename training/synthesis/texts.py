"""Texts to be spoken: sentences of a file that can be written in lower-case letters, and word groups cut from them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.data.formats.faults import DataFault
from training.data.formats.transcript_form import transcript_of, without_accents


class Sentence(NamedTuple):
    """A text as an engine speaks it, with its punctuation, and as a recogniser writes it (see `transcript_of`)."""

    spoken: str
    transcript: str


def read_sentences(path: Path, column: str = "", shortest: int = 1, longest: int = 12) -> list[Sentence]:
    """Distinct sentences of `shortest` to `longest` words: lines of a text file, or a column of a CSV or TSV file.

    The column is `column`, else one named `text`, else the first. Files may be compressed (`.gz`).

    Raises:
        DataFault: the file cannot be read, has no such column, or holds no usable sentence.
    """
    found: dict[str, Sentence] = {}
    for text in _texts(path, column):
        transcript = transcript_of(text)
        if transcript is not None and shortest <= transcript.count(" ") + 1 <= longest:
            found.setdefault(transcript, Sentence(" ".join(without_accents(text).split()), transcript))
    if not found:
        allowed = f"there must be sentences of {shortest} to {longest} words, without digits"
        raise DataFault(path, None, "no text can be spoken and written in letters", allowed)
    return list(found.values())


def fragment(sentences: Sequence[Sentence], most_words: int, rng: np.random.Generator) -> Sentence:
    """A group of 1 to `most_words` neighbouring words of one of the sentences."""
    words = sentences[int(rng.integers(len(sentences)))].transcript.split()
    length = min(int(rng.integers(1, most_words + 1)), len(words))
    start = int(rng.integers(len(words) - length + 1))
    text = " ".join(words[start : start + length])
    return Sentence(text, text)


def _texts(path: Path, column: str) -> Iterator[str]:
    kind = Path(path.name.removesuffix(".gz")).suffix.casefold()
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            if kind in (".tsv", ".csv"):
                yield from _cells(path, lines, "\t" if kind == ".tsv" else ",", column)
            else:
                yield from lines
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataFault(path, None, f"cannot be read: {error}") from error


def _cells(path: Path, lines: Iterator[str], separator: str, column: str) -> Iterator[str]:
    is_tsv = separator == "\t"
    rows = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE) if is_tsv else csv.reader(lines)
    header = next(rows, [])
    if column and column not in header:
        raise DataFault(path, 1, f"there is no column {column!r}", f"there are {', '.join(header)}")
    place = header.index(column or "text") if column or "text" in header else 0
    yield from (row[place] for row in rows if len(row) > place)
