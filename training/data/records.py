"""Records of labelled data: one type per kind of task."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Clip, Frames, Picture, Waveform

Words = tuple[str, ...]


def text_key(text: str) -> str:
    """Letters and digits only, case-folded: equal for texts that count as the same. Other texts are their own key."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()) or text.strip()


class TaggedSentence(NamedTuple):
    """Words with one tag each, and a label of the whole text if the data has one."""

    words: Words
    tags: tuple[str, ...]
    label: str = ""

    @property
    def keys(self) -> Words:
        """Normal forms of its texts. Records that share a key hold the same text."""
        return (text_key(" ".join(self.words)),)


class SurfaceToken(NamedTuple):
    """A token of a text, `text[start:end]`, and the number of words that it is: several for a multiword token."""

    start: int
    end: int
    num_words: int


class Surface(NamedTuple):
    """A sentence as it stands in its text; offsets are in code points.

    `starts_paragraph`: whether a paragraph or document begins with it. `is_joined`: whether the next sentence of the
    paragraph follows without a blank.
    """

    text: str
    tokens: tuple[SurfaceToken, ...]
    starts_paragraph: bool = False
    is_joined: bool = False


class ParsedSentence(NamedTuple):
    """Words with a part of speech, a head, a relation to it, morphological features and a lemma each.

    `heads` are numbers of words from 1, and 0 for the root; `feats` are as CoNLL-U writes them, `_` for none.
    `lemmas` are `_` where none is known, and empty where nobody has looked. `surface` is None where the file does not
    give the text.
    """

    words: Words
    tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    feats: tuple[str, ...]
    lemmas: tuple[str, ...] = ()
    surface: Surface | None = None

    @property
    def keys(self) -> Words:
        """See `TaggedSentence`."""
        return (text_key(" ".join(self.words)),)


class LabelledText(NamedTuple):
    """Text with a label. `group` is its source, such as a speaker or an author, if the data names it."""

    text: str
    label: str
    group: str = ""

    @property
    def keys(self) -> Words:
        """See `TaggedSentence`."""
        return (text_key(self.text),)


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

    @property
    def keys(self) -> Words:
        """Windows of one recording overlap, and are alike where they do not: they share a key."""
        own = hashlib.sha1(self.values.tobytes(), usedforsecurity=False).hexdigest()
        return (own, f"stretch:{self.stretch}") if self.stretch else (own,)


class Utterance(NamedTuple):
    """Speech with its transcript: audio samples `[time]` or frames `[time, features]`, float32.

    `group` is the speaker, if the data names one.
    """

    values: NDArray[np.float32]
    text: str
    features: Words = ()
    sample_rate_hz: int = 0
    group: str = ""

    @property
    def kind(self) -> Literal["frames", "waveform"]:
        return "waveform" if self.sample_rate_hz else "frames"

    @property
    def value(self) -> Frames | Waveform:
        """Input as a task takes it."""
        return Waveform(self.values, self.sample_rate_hz) if self.sample_rate_hz else Frames(self.values)

    @property
    def keys(self) -> Words:
        """Those of the sound: many speakers say the same text."""
        return (hashlib.sha1(self.values.tobytes(), usedforsecurity=False).hexdigest(),)


class SentencePair(NamedTuple):
    """Sentence with its translation."""

    source: str
    target: str

    @property
    def keys(self) -> Words:
        """One for each language."""
        return f"source:{text_key(self.source)}", f"target:{text_key(self.target)}"


class CaptionedPicture(NamedTuple):
    """PNG file with a caption; `group` is the artist or vendor, if the data names it."""

    png: bytes
    caption: str
    group: str = ""

    @property
    def value(self) -> Picture:
        """Input as a task takes it."""
        return Picture(self.png)

    @property
    def keys(self) -> Words:
        """Those of the file."""
        return (hashlib.sha1(self.png, usedforsecurity=False).hexdigest(),)


class CaptionedClip(NamedTuple):
    """Clip with a caption, the action that it begins with and the one that comes next.

    `frames` are uint8 `[time, rows, columns, 3]`; `group` is the source, if the data names it.
    """

    frames: NDArray[np.uint8]
    caption: str
    action: str
    next_action: str
    group: str = ""

    @property
    def value(self) -> Clip:
        """Input as a task takes it."""
        return Clip(frames=self.frames)

    @property
    def keys(self) -> Words:
        """Those of the frames."""
        return (hashlib.sha1(np.ascontiguousarray(self.frames).tobytes(), usedforsecurity=False).hexdigest(),)


class Passage(NamedTuple):
    """Running text for a language model: a file, or one document of it."""

    text: str

    @property
    def keys(self) -> Words:
        """See `TaggedSentence`."""
        return (text_key(self.text),)


class Series(NamedTuple):
    """Multivariate time series at equal steps: a file, or one split of it.

    `values` are float64 `[time, channels]`, NaN where missing. `times` are ISO 8601 or plain numbers, and empty if the
    file has none. The last `num_new` rows are the split itself; earlier rows are context for its first forecasts.
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


Record = (
    TaggedSentence
    | ParsedSentence
    | LabelledText
    | LabelledSignal
    | Utterance
    | SentencePair
    | CaptionedPicture
    | CaptionedClip
    | Passage
    | Series
)
