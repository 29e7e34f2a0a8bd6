"""From entries of a corpus, each a sound file with its transcript, to utterances; and what is left out, and why."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.sound_file import read_sound
from training.data.formats.faults import Report
from training.data.formats.options import Located
from training.data.records import Utterance

#: Nobody speaks faster: the least time of a character of text.
_LEAST_S_PER_CHARACTER = 0.02


@dataclass(frozen=True)
class Entry:
    """A sound with its transcript, as the line of a file has it. `seconds` is the part of the sound that is meant."""

    name: str
    text: str
    group: str
    path: Path
    line: int
    content: Callable[[], bytes]
    seconds: tuple[float, float] | None = None


class LeftOut(NamedTuple):
    """An entry that is not read: where it is, and why."""

    path: Path
    line: int
    why: str


def read_entries(entries: Iterable[Entry], report: Report) -> list[Located]:
    """Utterances of entries whose sound can be read. Empty texts, and sounds too short for theirs, are left out."""
    found: list[Located] = []
    empty: list[LeftOut] = []
    short: list[LeftOut] = []
    for entry, sound in _sounds(entries, report, empty):
        text, samples = " ".join(entry.text.split()), sound.samples
        needed_s = _LEAST_S_PER_CHARACTER * least_steps(text)
        if len(samples) < needed_s * sound.sample_rate_hz:
            length_s = len(samples) / sound.sample_rate_hz
            why = f"{entry.name} lasts {length_s:.2f} s, its text has {len(text)} characters"
            short.append(LeftOut(entry.path, entry.line, why))
            continue
        found.append(Located(Utterance(samples, text, (), sound.sample_rate_hz, entry.group), entry.line))
    tell_left_out(empty, "without a text", report)
    tell_left_out(short, "too short for the text", report)
    return found


def least_steps(text: str) -> int:
    """The steps that CTC needs for a text: one for each character, and a blank between two that are the same."""
    return len(text) + sum(one == next_one for one, next_one in pairwise(text))


def tell_left_out(left_out: list[LeftOut], kind: str, report: Report) -> None:
    """Report how many entries of a kind are left out, with the first of them."""
    if left_out:
        path, line, why = left_out[0]
        what = f"left out: {len(left_out):,} {'sound' if len(left_out) == 1 else 'sounds'} {kind}; the first: {why}"
        report.warn(path, line, what)


def _sounds(entries: Iterable[Entry], report: Report, empty: list[LeftOut]) -> Iterator[tuple[Entry, Waveform]]:
    """Entries with a text and their sounds. A file that several entries in a row are parts of is decoded once."""
    last: tuple[str, Waveform | None] = ("", None)
    for entry in entries:
        if not entry.text.strip():
            empty.append(LeftOut(entry.path, entry.line, entry.name))
            continue
        if last[0] != entry.name or entry.seconds is None:
            last = (entry.name, _sound(entry, report))
        sound = last[1]
        if sound is not None and entry.seconds is not None:
            sound = _part(entry, sound, entry.seconds, report)
        if sound is not None:
            yield entry, sound


def _sound(entry: Entry, report: Report) -> Waveform | None:
    """Samples of a file at its own rate, or None after a fault, which is reported."""
    try:
        return read_sound(entry.content())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        report.fault(entry.path, entry.line, f"{entry.name} cannot be read: {reason}")
    except InvalidInput as error:
        report.fault(entry.path, entry.line, f"{entry.name}: {error}")
    return None


def _part(entry: Entry, sound: Waveform, seconds: tuple[float, float], report: Report) -> Waveform | None:
    start, end = (round(second * sound.sample_rate_hz) for second in seconds)
    samples: NDArray[np.float32] = sound.samples[max(0, start) : end]
    if not 0 <= start < end or not len(samples):
        length_s = len(sound.samples) / sound.sample_rate_hz
        what = f"the part from {seconds[0]:g} to {seconds[1]:g} s is not in {entry.name}, which lasts {length_s:.2f} s"
        report.fault(entry.path, entry.line, what)
        return None
    return Waveform(samples.copy(), sound.sample_rate_hz)
