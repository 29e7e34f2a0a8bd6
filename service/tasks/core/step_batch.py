"""The interface between continuous batching and a task: a batch of rows that requests join and leave at any step.

The continuous batcher knows neither tokens nor states: it adds requests, asks for one run at a time, and passes on the
outcomes. Everything here is pure: no queue, no clock, no thread. One batch is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.errors import UnrollError
from service.tasks.core.task import Runner


class StepRequest(Protocol):
    """A request of a task that runs in steps. Requests are compared by identity."""

    @property
    def num_rows(self) -> int:
        """Rows that it occupies in every step: its beams, or its sequences."""
        ...

    @property
    def length(self) -> int:
        """Tokens to read before the first step."""
        ...


RequestT = TypeVar("RequestT", bound=StepRequest)


class Outcome(NamedTuple, Generic[RequestT]):
    """The outcome of one run for one request. A run may have no outcome for a request."""

    request: RequestT
    #: What a reader of the stream gets, such as the event of a token; None if there is nothing to read yet.
    product: object | None = None
    error: UnrollError | None = None
    #: Whether this is the last outcome of the request, so that its rows are free. Always true with an error.
    finished: bool = False


class StepBatch(Protocol[RequestT]):
    """Rows of many requests that share each run of a graph.

    An answer depends on its own request alone, whatever shares the batch, as long as a graph computes a row alike in
    every batch.
    """

    @property
    def num_rows(self) -> int:
        """Rows in use, including those of requests that have not been read yet."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to advance."""
        ...

    def join(self, requests: Sequence[RequestT]) -> None:
        """Add requests without running anything; the next `advance` starts to read them."""
        ...

    def advance(self, runner: Runner) -> list[Outcome[RequestT]]:
        """Run one graph once: prefill of a padded part of the joining requests' inputs, or one step of all live rows.

        If both are due they take turns, so that a long input never stalls the requests that are being stepped.
        A run that fails does not raise: the requests in it end with its error. An exception is a bug in the batch
        itself; then `clear` returns the requests that have no answer.
        """
        ...

    def leave(self, requests: Iterable[RequestT]) -> None:
        """Remove requests, joining or live, and free their rows. Unknown ones are ignored."""
        ...

    def clear(self) -> list[RequestT]:
        """Remove all requests, and return them."""
        ...


class StepTask(Protocol[RequestT]):
    """A task whose requests the continuous batcher runs."""

    def batch(self) -> StepBatch[RequestT]:
        """A new, empty batch."""
        ...

    def count_tokens(self, request: RequestT, product: Any) -> int:
        """Tokens generated for a request that has ended, for the metrics; `product` is its last one, None for none."""
        ...
