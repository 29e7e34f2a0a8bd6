"""What a data set is made of, once read: one small type per task."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Frames, Picture, Waveform

Words = tuple[str, ...]


def text_key(text: str) -> str:
    """Letters and digits only, case-folded: equal for texts that count as the same. Other texts are their own key."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()) or text.strip()


class TaggedSentence(NamedTuple):
    """One tag per word, and a label for the whole text where the data has one."""

    words: Words
    tags: tuple[str, ...]
    label: str = ""

    @property
    def keys(self) -> Words:
        """Normal forms of its texts. Records that share a key hold the same text."""
        return (text_key(" ".join(self.words)),)


class LabelledText(NamedTuple):
    """One label per text."""

    text: str
    label: str

    @property
    def keys(self) -> Words:
        """See `TaggedSentence`."""
        return (text_key(self.text),)


class LabelledSignal(NamedTuple):
    """A label for a sequence of numbers: frames `[time, features]`, or sound `[time]`, float32.

    `group` is who or what it comes from, such as a speaker, where the data says so. `stretch` is the recording that a
    window was cut out of.
    """

    values: NDArray[np.float32]
    label: str
    features: Words = ()
    sample_rate_hz: int = 0
    group: str = ""
    stretch: str = ""

    @property
    def kind(self) -> Literal["frames", "waveform"]:
        return "waveform" if self.sample_rate_hz else "frames"

    @property
    def value(self) -> Frames | Waveform:
        """As a task takes it."""
        return Waveform(self.values, self.sample_rate_hz) if self.sample_rate_hz else Frames(self.values)

    @property
    def keys(self) -> Words:
        """Windows of one recording overlap, and are alike where they do not: they share a key."""
        own = hashlib.sha1(self.values.tobytes(), usedforsecurity=False).hexdigest()
        return (own, f"stretch:{self.stretch}") if self.stretch else (own,)


class SentencePair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str

    @property
    def keys(self) -> Words:
        """One for each language."""
        return f"source:{text_key(self.source)}", f"target:{text_key(self.target)}"


class CaptionedPicture(NamedTuple):
    """A PNG file and what it shows; `group` is who drew it, where the data says so."""

    png: bytes
    caption: str
    group: str = ""

    @property
    def value(self) -> Picture:
        """As a task takes it."""
        return Picture(self.png)

    @property
    def keys(self) -> Words:
        """Those of the file."""
        return (hashlib.sha1(self.png, usedforsecurity=False).hexdigest(),)


class Passage(NamedTuple):
    """Running text for a language model: a whole file, or one document of it."""

    text: str

    @property
    def keys(self) -> Words:
        """See `TaggedSentence`."""
        return (text_key(self.text),)


class Series(NamedTuple):
    """Several quantities measured in equal steps of time: a whole file, or one part of it.

    `values` are float64 `[time, channels]`, NaN where there is none; `times` say when, as the file spells it, and are
    empty where it does not. The last `num_new` rows are the part itself; what stands before them is the past that the
    first forecasts look back on.
    """

    channels: Words
    targets: Words
    values: NDArray[np.float64]
    times: Words
    num_new: int

    @property
    def keys(self) -> Words:
        """None: rows of a series are compared by their time."""
        return ()


Record = TaggedSentence | LabelledText | LabelledSignal | SentencePair | CaptionedPicture | Passage | Series
