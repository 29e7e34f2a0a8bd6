"""Tasks: pure functions between the values of a request and the tensors of a bundle's graphs.

A task knows its bundle and nothing else: no queue, no clock, no onnxruntime. It calls graphs only through a `Runner`,
so the same code runs on onnxruntime in the service and on torch while a bundle is verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from service.bundle import padding
from service.bundle.tokenizer import UNK
from service.errors import InferenceFailed, InvalidInput

Array = padding.Array

#: Upper bound on the mean number of characters per token, for every tokenizer of this project.
MAX_CHARACTERS_PER_TOKEN = 32
#: 1.8e19. No real series is refused: nanoseconds since 1970 are 1.8e18, counters of 64 bits end here, and sums of money
#: and populations are smaller. The square of a larger number, which layer normalisation takes, overflows in float32.
LARGEST_NUMBER = 2.0**64


@dataclass(frozen=True, eq=False)
class Frames:
    """A sequence of feature vectors: float32 `[time, features]`, finite, at least one frame.

    `times` are those of the last frames, as the caller spells them; empty if there are none.
    """

    values: padding.FloatArray
    times: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono audio: float32 `[time]`, at least one sample, full scale at -1 and 1.

    `key` is the one under which its file was sent, for the path of an error.
    """

    samples: padding.FloatArray
    sample_rate_hz: int
    key: str = "wav"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was sent: the bytes of a PNG file, decoded only by a task that takes pictures."""

    png: bytes


@dataclass(frozen=True, eq=False)
class Clip:
    """A short clip as it was sent, decoded only by a task that takes clips; or as frames that were read already.

    Attributes:
        files: the bytes of one animated file, or of a PNG file for each frame.
        key: the one under which the files were sent, for the path of an error.
        frames: uint8 `[time, rows, columns, 3]` instead of files, at least one.
    """

    files: tuple[bytes, ...] = ()
    key: Literal["clip", "pictures"] = "clip"
    frames: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Tensors:
    """Named arrays as they were sent, without the batch axis, read only by a task that knows their forms.

    Each is a number, nested lists of numbers as JSON has them, or an array.
    """

    arrays: Mapping[str, Any]


#: One input: a text, a text split into words, a sequence of numbers, a picture, a clip, or named arrays.
PredictInput = str | Sequence[str] | Frames | Waveform | Picture | Clip | Tensors
#: Those that are neither a text nor words.
NO_TEXT = (Frames, Waveform, Picture, Clip, Tensors)


#: `POST /predict` answers once, `POST /generate` may stream the answer token by token.
Route = Literal["predict", "generate"]


class Runner(Protocol):
    """Runs the graphs of a bundle. It is stateless: recurrent state is an input and an output of each run."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run `graph` once with all its inputs by name; return its outputs by name. Raises InferenceFailed.

        Hidden states may be left out, see `run_with_hidden`.
        """
        ...


@runtime_checkable
class LeavesOutHidden(Protocol):
    """A runner whose `run` leaves out the hidden states of a graph, because few callers ask for them."""

    def run_with_hidden(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`run`, with every output of the graph."""
        ...


def run_with_hidden(runner: Runner, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a graph once, and return every output that it has. Raises InferenceFailed."""
    if isinstance(runner, LeavesOutHidden):
        return runner.run_with_hidden(graph, feeds)
    return runner.run(graph, feeds)


class Parameters(BaseModel):
    """Base of the parameters of a task. Unknown names are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """Base of the answer to one input."""

    model_config = ConfigDict(extra="forbid")


class HasLength(Protocol):
    """A preprocessed input. `length` is its size along the recurrent axis, in tokens: what batching sorts by."""

    @property
    def length(self) -> int: ...


class InputStatistics(NamedTuple):
    """Tokens of an input, and how many of them are not in the vocabulary."""

    num_tokens: int
    num_unknown: int


class AnswerStatistics(NamedTuple):
    """Labels of an answer and the confidence of the model, 0 to 1, if it has one: for the metrics."""

    labels: Sequence[str]
    confidence: float | None


def input_statistics_of(ids: Sequence[int]) -> InputStatistics:
    """Statistics of a sequence of token ids."""
    return InputStatistics(len(ids), ids.count(UNK))


class Task(Protocol):
    """What the service needs of every task, however its graphs are run.

    Attributes:
        route: the route that serves it, which decides the kind of engine.
        parameters_type: the schema of `parameters` in a request.
        answer_type: the schema of an answer.
    """

    route: ClassVar[Route]
    parameters_type: ClassVar[type[Parameters]]
    answer_type: ClassVar[type[Answer]]

    def answer(self, runner: Runner, value: Any, parameters: Mapping[str, Any]) -> Answer:
        """The whole answer to one value, computed alone.

        Raises:
            InvalidInput: the input or a parameter is refused.
            InferenceFailed: a graph failed, or gave numbers that are not finite.
        """
        ...

    def embedding_example(self, value: Any) -> Any:
        """Check and encode one input for `embed`. Raises InvalidInput, with a path relative to that input."""
        ...

    def embed(self, runner: Runner, examples: Sequence[Any]) -> list[Array]:
        """The hidden state of each example as one vector `[width]`, see `hidden`; alone it would be the same.

        Only for bundles that give it. Raises InferenceFailed.
        """
        raise InferenceFailed("this task has no embedding")


def kind_of(value: PredictInput) -> str:
    """The kind of a value, for error messages."""
    match value:
        case Frames():
            return "frames of numbers"
        case Waveform():
            return "sound"
        case Picture():
            return "a picture"
        case Clip():
            return "a clip"
        case Tensors():
            return "named arrays"
        case str():
            return "text"
        case _:
            return "a list of words"


def require_text(value: str, field: Sequence[str | int] = ()) -> str:
    """Check that a text can be tokenised: it is not blank, and can be encoded as UTF-8.

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
    """`require_text`, and a check of the length before tokenisation.

    Tokenisers need seconds for a megabyte, so a text that cannot fit the limit is refused before.
    """
    max_characters = max_tokens * MAX_CHARACTERS_PER_TOKEN
    require_at_most(len(value), max_characters, "characters", field)
    return require_text(value, field)


def require_words(words: PredictInput, max_tokens: int) -> tuple[str, ...]:
    """Check a list of words: at least one, none blank, and each a valid text.

    Raises:
        InvalidInput: with the index of the first invalid word; or the input is not text.
    """
    if isinstance(words, NO_TEXT):
        raise InvalidInput(f"this model takes text, not {kind_of(words)}")
    if not words:
        raise InvalidInput("the list of words is empty")
    require_at_most(len(words), max_tokens, "words")
    # One check of all words, because they are nearly always valid; then word by word to find the one that is not.
    if not _are_short_texts(words, max_tokens):
        for index, word in enumerate(words):
            require_short_text(word, max_tokens, (index,))
    return tuple(words)


def _are_short_texts(words: Sequence[str], max_tokens: int) -> bool:
    joined = "".join(words)
    is_short = len(joined) <= max_tokens * MAX_CHARACTERS_PER_TOKEN
    return is_short and all(map(str.strip, words)) and (joined.isascii() or _is_unicode(joined))


def _is_unicode(text: str) -> bool:
    """Whether it can be encoded as UTF-8: it contains no unpaired surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def require_at_most(length: int, limit: int, unit: str, field: Sequence[str | int] = ()) -> None:
    """Raises InvalidInput when an input is longer than the bundle's limit."""
    if length > limit:
        raise InvalidInput(f"the input has {length} {unit}, this model takes at most {limit}", field)


def require_computable(frames: padding.FloatArray, largest: float = LARGEST_NUMBER) -> None:
    """Check that no number of frames `[time, features]` is so large that what a network computes from it overflows.

    Raises:
        InvalidInput: with the place of the number.
    """
    if frames.max(initial=0.0) <= largest and frames.min(initial=0.0) >= -largest:
        return
    row, column = map(int, np.unravel_index(np.abs(frames).argmax(), frames.shape))
    message = f"this number is {frames[row, column]:.4g}; read are up to {largest:.2g}, positive or negative"
    raise InvalidInput(message, ("frames", row, column))


def require_at_most_new_tokens(wanted: int, limit: int) -> None:
    """Raises InvalidInput when more tokens are asked for than the bundle allows."""
    if wanted > limit:
        message = f"this model writes at most {limit} tokens, {wanted} were asked for"
        raise InvalidInput(message, ("parameters", "max_new_tokens"))
