"""Recordings that strings and streams are glued from: single words by their speakers, and speech without them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import UnrollError
from service.tasks.inputs.resample import resampled
from training.data.public.locate import find_dataset, locate
from training.data.read import read_records
from training.data.records import LabelledSignal, Utterance
from training.synthesis.sound import Samples, trimmed

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
#: Words within which a digit is heard: "sixteen", "seventh", "ones".
_NUMBER_ENDINGS = ("", "s", "th", "teen", "teenth", "ty", "tieth", "y", "een", "eenth")
_LOUDEST_SILENCE = 0.02


class Clip(NamedTuple):
    """A recording of one word, without the silence around it."""

    word: str
    samples: Samples


@dataclass(frozen=True)
class WordRecordings:
    """Recordings of single words at one rate: `by_speaker[speaker][word]`."""

    by_speaker: dict[str, dict[str, list[Samples]]]

    @property
    def speakers(self) -> list[str]:
        """In the order of their names."""
        return sorted(self.by_speaker)

    @property
    def words(self) -> list[str]:
        """Those of all speakers, in the order of their names."""
        return sorted({word for words in self.by_speaker.values() for word in words})


class Prompt(NamedTuple):
    """A recording of continuous speech, with its text."""

    text: str
    samples: Samples


def read_words(dataset: str, split: str, rate_hz: int, leave_out: str = "", only: str = "") -> WordRecordings:
    """The recordings of a set of single words, of which the labels 0 to 9 are written out.

    Raises:
        DatasetUnavailable: no such data set, or its files are missing.
        UnrollError: it holds no sounds, or no speaker is left; the speakers are named.
    """
    found: dict[str, dict[str, list[Samples]]] = {}
    for record in _sounds(dataset, split):
        word = _DIGITS[int(record.label)] if record.label in "0123456789" else record.label.casefold()
        sound = trimmed(resampled(record.values, record.sample_rate_hz, rate_hz), rate_hz, _LOUDEST_SILENCE)
        found.setdefault(record.group or "unknown", {}).setdefault(word, []).append(sound)
    unknown = [name for name in (leave_out, only) if name and name not in found]
    kept = {name: words for name, words in found.items() if name != leave_out and only in ("", name)}
    if unknown or not kept:
        raise UnrollError(
            f"{dataset} has the speakers {', '.join(sorted(found))}; not {', '.join(unknown) or 'others'}"
        )
    return WordRecordings(kept)


def read_prompts(dataset: str, splits: Sequence[str], rate_hz: int, without: Sequence[str]) -> list[Prompt]:
    """The utterances of a data set whose text holds none of the words `without`, nor numbers made of them.

    Raises:
        DatasetUnavailable: no such data set, or its files are missing.
    """
    entry = find_dataset(dataset)
    records = [
        record
        for split in splits
        for record in read_records("transcription", locate(dataset, split), entry.options)
        if isinstance(record, Utterance) and record.sample_rate_hz
    ]
    return [
        Prompt(record.text, resampled(record.values, record.sample_rate_hz, rate_hz))
        for record in records
        if not has_any(record.text, without)
    ]


def has_any(text: str, words: Sequence[str]) -> bool:
    """Whether one of the words is heard in a text, also as the start of a larger number."""
    forms = {f"{word}{ending}" for word in words for ending in _NUMBER_ENDINGS}
    return any(word in forms for word in text.casefold().split())


def kept_apart(prompts: Sequence[Prompt], percent: int = 30) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts in two parts, by the digest of their texts: those to learn from, and `percent` of them for dev."""
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        number = int.from_bytes(hashlib.sha256(prompt.text.encode()).digest()[:4], "big")
        parts[number % 100 < percent].append(prompt)
    return parts


def _sounds(dataset: str, split: str) -> Iterator[LabelledSignal]:
    entry = find_dataset(dataset)
    if "classification" not in entry.tasks:
        raise UnrollError(f"{dataset} is for {', '.join(entry.tasks)}; name a set of single words, such as fsdd")
    for record in read_records("classification", locate(dataset, split), entry.options):
        if not isinstance(record, LabelledSignal) or not record.sample_rate_hz:
            raise UnrollError(f"{dataset} holds no sounds; name a set of single words, such as fsdd")
        yield record
