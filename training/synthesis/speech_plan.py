"""What is spoken by whom, and how: each utterance follows from the seed and its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

import numpy as np

from service.errors import UnrollError
from training.synthesis.engines import Delivery
from training.synthesis.texts import Sentence, fragment

DEFAULT_VOICES = "espeak-ng/*=5,flite/*=4,festival/*=1"
_TEMPO, _PITCH, _SIZE = (0.8, 1.25), (-1.0, 1.0), (0.9, 1.12)
_BEFORE_S, _AFTER_S, _LEVEL_DB = (0.03, 0.4), (0.05, 0.5), (-29.0, -17.0)
_MOST_FRAGMENT_WORDS = 6


class SpokenUtterance(NamedTuple):
    """One utterance to be made: who says what and how, silence around it in seconds, level in dB of full scale."""

    sentence: Sentence
    voice: str
    delivery: Delivery
    before_s: float
    after_s: float
    level_db: float


class VoiceGroup(NamedTuple):
    """Voices that speak a share of the utterances together."""

    share: float
    voices: tuple[str, ...]


def chosen_voices(patterns: str, installed: Sequence[str], left_out: str = "") -> list[VoiceGroup]:
    """Groups of installed voices by patterns such as `espeak-ng/en-us+*=5,flite/*=4`; the share is 1 if not given.

    Patterns without an installed voice are passed over, as long as another has one.

    Raises:
        UnrollError: a share is no positive number, or no voice is left.
    """
    outside = [pattern.strip() for pattern in left_out.split(",") if pattern.strip()]
    kept = [voice for voice in installed if not _matches(voice, outside)]
    groups = []
    for given in filter(None, (part.strip() for part in patterns.split(","))):
        pattern, _, share = given.partition("=")
        groups.append(VoiceGroup(_share(given, share), tuple(voice for voice in kept if _matches(voice, [pattern]))))
    found = [group for group in groups if group.voices]
    if not found:
        examples = ", ".join(sorted({voice.partition("/")[0] + "/*" for voice in installed}))
        raise UnrollError(f"no installed voice is like {patterns!r}; there are {examples}, such as {installed[0]}")
    return found


@dataclass(frozen=True)
class SpeechPlan:
    """All utterances of a set. `fragments` are texts from which word groups are cut for half of the utterances."""

    seed: int
    groups: Sequence[VoiceGroup]
    sentences: Sequence[Sentence]
    fragments: Sequence[Sentence] = ()

    def utterance(self, number: int) -> SpokenUtterance:
        """The utterance of a number, from 0. Sentences come in shuffled order and again after the last."""
        rng = np.random.default_rng([self.seed, number])
        group = self.groups[int(rng.choice(len(self.groups), p=self._shares))]
        voice = group.voices[int(rng.integers(len(group.voices)))]
        delivery = Delivery(*(round(float(rng.uniform(*bounds)), 3) for bounds in (_TEMPO, _PITCH, _SIZE)))
        silence_and_level = (float(rng.uniform(*bounds)) for bounds in (_BEFORE_S, _AFTER_S, _LEVEL_DB))
        return SpokenUtterance(self._sentence(number, rng), voice, delivery, *silence_and_level)

    def _sentence(self, number: int, rng: np.random.Generator) -> Sentence:
        if self.fragments and number % 2:
            return fragment(self.fragments, _MOST_FRAGMENT_WORDS, rng)
        place = number // 2 if self.fragments else number
        return self.sentences[self._order[place % len(self.sentences)]]

    @cached_property
    def _shares(self) -> list[float]:
        whole = sum(group.share for group in self.groups)
        return [group.share / whole for group in self.groups]

    @cached_property
    def _order(self) -> list[int]:
        return [int(place) for place in np.random.default_rng(self.seed).permutation(len(self.sentences))]


def _matches(voice: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(voice, pattern) for pattern in patterns)


def _share(given: str, share: str) -> float:
    try:
        value = float(share or 1)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UnrollError(f"--voices: the share in {given!r} must be a positive number, such as flite/*=4")
    return value
