"""Records of labelled data: one type per kind of task."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Frames, Picture, Waveform

Words = tuple[str, ...]


class TaggedSentence(NamedTuple):
    """Words with one tag each, and a label of the whole text if the data has one."""

    words: Words
    tags: tuple[str, ...]
    label: str = ""


class LabelledText(NamedTuple):
    """Text with a label."""

    text: str
    label: str


class LabelledSignal(NamedTuple):
    """Sequence of numbers with a label: frames `[time, features]` or audio samples `[time]`, float32.

    `group` is the source, such as a speaker, if the data names it. `stretch` is the recording that a window was cut
    from.
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
        """Input as a task takes it."""
        return Waveform(self.values, self.sample_rate_hz) if self.sample_rate_hz else Frames(self.values)


class SentencePair(NamedTuple):
    """Sentence with its translation."""

    source: str
    target: str


class CaptionedPicture(NamedTuple):
    """PNG file with a caption; `group` is the artist or vendor, if the data names it."""

    png: bytes
    caption: str
    group: str = ""

    @property
    def value(self) -> Picture:
        """Input as a task takes it."""
        return Picture(self.png)


class Passage(NamedTuple):
    """Running text for a language model: a file, or one document of it."""

    text: str


class Series(NamedTuple):
    """Multivariate time series at equal steps: a file, or one split of it.

    `values` are float64 `[time, channels]`, NaN where missing. `times` are spelled as in the file, and empty if it has
    none. The last `num_new` rows are the split itself; earlier rows are context for its first forecasts.
    """

    channels: Words
    targets: Words
    values: NDArray[np.float64]
    times: Words
    num_new: int


Record = TaggedSentence | LabelledText | LabelledSignal | SentencePair | CaptionedPicture | Passage | Series
