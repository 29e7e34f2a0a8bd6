"""Profile of one split: number of records, labels, lengths, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from training.data.channels import ChannelProfile
from training.data.formats.options import Located
from training.data.records import (
    CaptionedClip,
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    ParsedSentence,
    Passage,
    SentencePair,
    Series,
    TaggedSentence,
    Utterance,
    text_key,
)

#: Shorter lines of running text, such as headings and names of speakers, repeat naturally: they are no duplicates.
_MIN_LINE_CHARACTERS = 40
#: Number of examples kept of each finding.
MAX_EXAMPLES = 10

#: Unit of length by task or kind of signal, if not words.
LENGTH_UNITS = {
    "generation": "characters per line",
    "translation": "source words",
    "forecasting": "channels",
    "frames": "frames",
    "waveform": "samples",
}


class Unit(NamedTuple):
    """Unit of counting: a record, or a line of running text.

    `keys` identify its texts, `labels` are counted for the label balance. Units with equal texts but different
    `decision` are in conflict; it is None where differences are natural, as between translations.
    """

    line: int
    length: int
    keys: tuple[str, ...]
    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    decision: tuple[str, ...] | None
    length_unit: str = "words"


class LengthBar(BaseModel):
    """Number of records with a length of `shortest` to `longest`."""

    model_config = ConfigDict(extra="forbid")

    shortest: int
    longest: int
    count: int


class SplitProfile(BaseModel):
    """Counts of one split. Lines count from 1; pairs of lines are (first occurrence, repeat)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    path: str
    records: int
    tokens: int
    length_unit: str
    mean_length: float
    max_length: int
    lengths: list[LengthBar]
    labels: dict[str, int] = Field(description="most frequent first")
    duplicates: int = Field(description="records that repeat an earlier one, with the same label")
    duplicate_lines: list[tuple[int, int]]
    conflicts: int = Field(description="records whose text occurs earlier with another label")
    conflict_lines: list[tuple[int, int]]
    channels: list[ChannelProfile] = Field(default=[], description="of a series")


def units_of(records: Sequence[Located]) -> list[Unit]:
    """Units of all records of a split."""
    return [unit for located in records for unit in _units(located)]


def _units(located: Located) -> Iterator[Unit]:
    record, line = located
    match record:
        case TaggedSentence() | ParsedSentence():
            yield _unit_of_sentence(record, line)
        case LabelledText(text, label):
            yield _unit_of_text(located, text, (label,), (label,))
        case LabelledSignal(values, label):
            yield Unit(line, len(values), record.keys, (), (label,), (label,), LENGTH_UNITS[record.kind])
        case Utterance(values, text):
            yield Unit(line, len(values), record.keys, tuple(text.split()), (), (text,), LENGTH_UNITS[record.kind])
        case CaptionedPicture() | CaptionedClip():
            yield _unit_of_caption(located, record)
        case SentencePair(source, target):
            tokens = (*source.split(), *target.split())
            yield Unit(line, len(source.split()), record.keys, tokens, (), None)
        case Series(_, _, values, times, _):
            for number, row in enumerate(values, start=line):
                keys = (f"time:{times[number - line]}",) if times else ()
                yield Unit(number, len(row), keys, (), (), None)
        case Passage(text):
            yield from _units_of_lines(line, text)


def _unit_of_sentence(record: TaggedSentence | ParsedSentence, line: int) -> Unit:
    if isinstance(record, ParsedSentence):
        labels, decision = record.relations, (*record.tags, *map(str, record.heads), *record.relations)
    else:
        labels = (*record.tags, f"text: {record.label}") if record.label else record.tags
        decision = labels
    return Unit(line, len(record.words), record.keys, record.words, labels, decision)


def _unit_of_text(located: Located, text: str, labels: tuple[str, ...], decision: tuple[str, ...]) -> Unit:
    tokens = tuple(text.split())
    return Unit(located.line, len(tokens), located.record.keys, tokens, labels, decision)


def _unit_of_caption(located: Located, record: CaptionedPicture | CaptionedClip) -> Unit:
    if isinstance(record, CaptionedPicture):
        return _unit_of_text(located, record.caption, (), (record.caption,))
    told, words = (record.action, f"next: {record.next_action}"), tuple(record.caption.split())
    return Unit(located.line, len(record.frames), record.keys, words, told, (record.caption, *told), "frames")


def _units_of_lines(first_line: int, text: str) -> Iterator[Unit]:
    for number, content in enumerate(text.split("\n"), start=first_line):
        if content.strip():
            keys = (text_key(content),) if len(content) >= _MIN_LINE_CHARACTERS else ()
            yield Unit(number, len(content), keys, tuple(content), (), None)


def profile(name: str, path: str, task: str, units: Sequence[Unit]) -> SplitProfile:
    """Compute the profile of one split."""
    lengths = [unit.length for unit in units]
    duplicates, conflicts = _repeats(units)
    labels = Counter(label for unit in units for label in unit.labels)
    return SplitProfile(
        name=name,
        path=path,
        records=len(units),
        tokens=sum(len(unit.tokens) for unit in units),
        length_unit=LENGTH_UNITS.get(task) or next((unit.length_unit for unit in units), "words"),
        mean_length=sum(lengths) / len(lengths) if lengths else 0.0,
        max_length=max(lengths, default=0),
        lengths=_length_bars(lengths),
        labels=dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        duplicates=len(duplicates),
        duplicate_lines=duplicates[:MAX_EXAMPLES],
        conflicts=len(conflicts),
        conflict_lines=conflicts[:MAX_EXAMPLES],
    )


def _repeats(units: Sequence[Unit]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Lines of duplicates and of conflicts, each as (first line, this line)."""
    first_lines: dict[tuple[str, ...], Unit] = {}
    duplicates: list[tuple[int, int]] = []
    conflicts: list[tuple[int, int]] = []
    for unit in units:
        if not unit.keys:
            continue
        first = first_lines.setdefault(unit.keys, unit)
        if first is not unit:
            (duplicates if first.decision == unit.decision else conflicts).append((first.line, unit.line))
    return duplicates, conflicts


def _length_bars(lengths: Sequence[int]) -> list[LengthBar]:
    """Histogram with bars of doubling width (1, 2, 3-4, 5-8, 9-16, ...), empty ones between others included."""
    counts = Counter(max(0, length - 1).bit_length() for length in lengths)
    bars = range(min(counts, default=0), max(counts, default=-1) + 1)
    return [LengthBar(shortest=2 ** (bar - 1) + 1 if bar else 1, longest=2**bar, count=counts[bar]) for bar in bars]
