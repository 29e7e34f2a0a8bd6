"""What a data set is made of, once read: one small type per task."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Frames, Picture, Waveform

Words = tuple[str, ...]


class TaggedSentence(NamedTuple):
    """One tag per word, and a label for the whole text where the data has one."""

    words: Words
    tags: tuple[str, ...]
    label: str = ""


class LabelledText(NamedTuple):
    """One label per text."""

    text: str
    label: str


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


class SentencePair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class CaptionedPicture(NamedTuple):
    """A PNG file and what it shows; `group` is who drew it, where the data says so."""

    png: bytes
    caption: str
    group: str = ""

    @property
    def value(self) -> Picture:
        """As a task takes it."""
        return Picture(self.png)


class Passage(NamedTuple):
    """Running text for a language model: a whole file, or one document of it."""

    text: str


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


Record = TaggedSentence | LabelledText | LabelledSignal | SentencePair | CaptionedPicture | Passage | Series
