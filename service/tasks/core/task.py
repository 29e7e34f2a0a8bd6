"""What a task is: pure functions between a caller's value and the tensors of a bundle's graphs.

A task knows its bundle and nothing else: no queue, no clock, no onnxruntime. It reaches graphs only through a `Runner`,
so the same code answers from onnxruntime in the service and from torch while a bundle is verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from service.bundle import padding
from service.bundle.tokenizer import UNK
from service.errors import InvalidInput

Array = padding.Array

#: No tokenizer of ours cuts text so coarsely that more characters than this, on average, make one token.
MAX_CHARACTERS_PER_TOKEN = 32


@dataclass(frozen=True, eq=False)
class Frames:
    """A sequence of feature vectors: float32 `[time, features]`, finite, at least one frame."""

    values: padding.FloatArray


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound of one channel: float32 `[time]`, at least one sample, full scale at -1 and 1."""

    samples: padding.FloatArray
    sample_rate_hz: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was sent: the bytes of a PNG file. Only a task that takes pictures looks into them."""

    png: bytes


#: What one input may be: a text, a text that is cut into words, a sequence of numbers, or a picture.
PredictInput = str | Sequence[str] | Frames | Waveform | Picture


#: `POST /predict` gives an answer at once, `POST /generate` one that grows token by token.
Route = Literal["predict", "generate"]


class Runner(Protocol):
    """Runs one graph of a bundle once. It keeps nothing between calls: recurrent state goes in and comes out."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Feed every input of `graph` by name; get every output by name. Raises InferenceFailed."""
        ...


class Parameters(BaseModel):
    """Base of what a caller may choose. Unknown names are refused; numbers must be numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """Base of what a caller gets back for one input."""

    model_config = ConfigDict(extra="forbid")


class HasLength(Protocol):
    """A preprocessed input. `length` is its cost on the recurrent axis, in tokens."""

    @property
    def length(self) -> int: ...


class InputStatistics(NamedTuple):
    """What a model read of an input: words or pieces, and how many of them its vocabulary does not hold."""

    num_tokens: int
    num_unknown: int


class AnswerStatistics(NamedTuple):
    """What stands in an answer, for the statistics: its labels, and how sure the model was, 0 to 1 if it said so."""

    labels: Sequence[str]
    confidence: float | None


def input_statistics_of(ids: Sequence[int]) -> InputStatistics:
    """Of a sequence of ids."""
    return InputStatistics(len(ids), ids.count(UNK))


class Task(Protocol):
    """What every task is to the service, however its graphs are run.

    Attributes:
        route: the route that answers with it, and with that the kind of engine.
        parameters_type: what `parameters` of a request must be.
        answer_type: what a caller reads.
    """

    route: ClassVar[Route]
    parameters_type: ClassVar[type[Parameters]]
    answer_type: ClassVar[type[Answer]]

    def answer(self, runner: Runner, value: Any, parameters: Mapping[str, Any]) -> Answer:
        """The whole answer to one plain value, on its own.

        Raises:
            InvalidInput: the input or a parameter is refused.
            InferenceFailed: a graph failed, or gave numbers that are not finite.
        """
        ...


def kind_of(value: PredictInput) -> str:
    """What a caller has sent, in words."""
    match value:
        case Frames():
            return "frames of numbers"
        case Waveform():
            return "sound"
        case Picture():
            return "a picture"
        case str():
            return "text"
        case _:
            return "a list of words"


def require_text(value: str, field: Sequence[str | int] = ()) -> str:
    """A text that can be tokenised: not blank, and Unicode that can be written as UTF-8.

    Raises:
        InvalidInput: with the reason.
    """
    if not value.strip():
        raise InvalidInput("the text is empty", field)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"character {error.start} is half of a surrogate pair, which is no text", field) from error
    return value


def require_short_text(value: str, max_tokens: int, field: Sequence[str | int] = ()) -> str:
    """`require_text`, and not so long that cutting it into tokens would be a waste.

    Tokenisers need seconds for a megabyte; a text that no tokeniser makes short enough is refused before.
    """
    max_characters = max_tokens * MAX_CHARACTERS_PER_TOKEN
    require_at_most(len(value), max_characters, "characters", field)
    return require_text(value, field)


def require_words(words: Sequence[str] | Frames | Waveform | Picture, max_tokens: int) -> tuple[str, ...]:
    """A text that the caller has already cut: at least one word, none blank, each of them text.

    Raises:
        InvalidInput: with the index of the first word at fault; or the input is no text at all.
    """
    if isinstance(words, (Frames, Waveform, Picture)):
        raise InvalidInput(f"this model takes text, not {kind_of(words)}")
    if not words:
        raise InvalidInput("the list of words is empty")
    require_at_most(len(words), max_tokens, "words")
    # All at once, because it is nearly always right; word by word only to say which of them is not.
    if not _are_short_texts(words, max_tokens):
        for index, word in enumerate(words):
            require_short_text(word, max_tokens, (index,))
    return tuple(words)


def _are_short_texts(words: Sequence[str], max_tokens: int) -> bool:
    joined = "".join(words)
    is_short = len(joined) <= max_tokens * MAX_CHARACTERS_PER_TOKEN
    return is_short and all(map(str.strip, words)) and (joined.isascii() or _is_unicode(joined))


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def require_at_most(length: int, limit: int, unit: str, field: Sequence[str | int] = ()) -> None:
    """Raises InvalidInput when an input is longer than the bundle's limit."""
    if length > limit:
        raise InvalidInput(f"the input has {length} {unit}, this model takes at most {limit}", field)


def require_at_most_new_tokens(wanted: int, limit: int) -> None:
    """Raises InvalidInput when more tokens are asked for than the bundle allows."""
    if wanted > limit:
        message = f"this model writes at most {limit} tokens, {wanted} were asked for"
        raise InvalidInput(message, ("parameters", "max_new_tokens"))
