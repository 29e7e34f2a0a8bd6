"""Hidden states as answers: an input as one vector, from what the output layer of its network reads.

A classifier gives one vector for the input; the vectors of a tagger's words, or of the places of an encoder's memory,
are averaged; a language model's vector is that of the last token, which has read all of them. Padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field

from service.bundle.hidden_output import hidden_output, why_no_embedding
from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray, IntArray
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array, HasLength, InputStatistics, Parameters, Runner

ExampleT = TypeVar("ExampleT", bound=HasLength)

#: Whether an answer has the hidden state: not at all, as it is, or divided by its length.
HiddenForm = Literal["", "plain", "unit"]


class HiddenParameters(Parameters):
    """Base of the parameters of tasks whose answers can have the hidden state."""

    return_hidden: bool = Field(
        default=False, description="also return the hidden state of the input, as one vector: `hidden`"
    )
    normalize: bool = Field(default=False, description="scale that vector to length 1; only with return_hidden")

    def hidden_form(self, manifest: Manifest) -> HiddenForm:
        """How the answer has the hidden state. Raises InvalidInput if the bundle has none, or there is no vector."""
        if not self.return_hidden:
            if self.normalize:
                raise InvalidInput("is only for return_hidden: set that to true too", ("parameters", "normalize"))
            return ""
        require_hidden(manifest, ("parameters", "return_hidden"))
        return "unit" if self.normalize else "plain"


class EmbeddingTask(Protocol[ExampleT]):
    """A task that gives embeddings, without the answers that it is for."""

    def embedding_example(self, value: Any) -> ExampleT:
        """Check and encode one input. Raises InvalidInput, with a path relative to that input."""
        ...

    def embed(self, runner: Runner, examples: Sequence[ExampleT]) -> list[Array]:
        """One vector `[width]` for each example, in order; alone it would be the same. Raises InferenceFailed."""
        ...

    def input_statistics(self, example: ExampleT) -> InputStatistics:
        """Tokens of an input, known and unknown."""
        ...


def require_hidden(manifest: Manifest, field: Sequence[str | int]) -> None:
    """Raises InvalidInput, with the reason and the remedy, if the bundle does not give its hidden state."""
    if hidden_output(manifest) is None:
        raise InvalidInput(why_no_embedding(manifest), field)


def mean_states(states: Array, lengths: IntArray | Sequence[int]) -> FloatArray:
    """`[batch, time, width]` and the length of each row -> the mean within each length, `[batch, width]`."""
    means = [row[:length].mean(axis=0, dtype=np.float64) for row, length in zip(states, lengths, strict=True)]
    return np.stack(means).astype(np.float32)


def formed(vectors: FloatArray, forms: Iterable[HiddenForm]) -> list[FloatArray | None]:
    """Each row of `[batch, width]` in the form that is asked for."""
    return [_in_form(vector, form) for vector, form in zip(vectors, forms, strict=True)]


def unit_vector(vector: FloatArray) -> FloatArray:
    """A vector scaled to length 1; one of zeros stays as it is."""
    exact = vector.astype(np.float64)
    length = float(np.sqrt(exact @ exact))
    return vector if length == 0.0 else np.asarray(exact / length, dtype=np.float32)


def finite_numbers(vector: FloatArray) -> list[float]:
    """A vector as JSON values. Raises InferenceFailed if a number is not finite."""
    if not np.isfinite(vector).all():
        raise InferenceFailed("the model computed a hidden state that is not of finite numbers")
    numbers: list[float] = vector.tolist()
    return numbers


def _in_form(vector: FloatArray, form: HiddenForm) -> FloatArray | None:
    if not form:
        return None
    return unit_vector(vector) if form == "unit" else vector
