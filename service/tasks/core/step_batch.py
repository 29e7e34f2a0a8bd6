"""What a step model is to the loop that drives it: a batch of rows that requests join and leave at any step.

The loop knows neither tokens nor states: it hands requests in, asks for one run at a time, and passes on what came of
it. Everything here is pure: no queue, no clock, no thread. One batch is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.errors import UnrollError
from service.tasks.core.task import Runner


class StepRequest(Protocol):
    """What a caller wants from a step model. Requests are told apart by identity."""

    @property
    def num_rows(self) -> int:
        """The rows it takes in every step: its beams, or its continuations."""
        ...

    @property
    def length(self) -> int:
        """Tokens to read before the first step."""
        ...


RequestT = TypeVar("RequestT", bound=StepRequest)


class Outcome(NamedTuple, Generic[RequestT]):
    """What one run meant for one request. A request with nothing to say has no outcome."""

    request: RequestT
    #: Something for a reader who follows along, such as the event of a token; None for one who waits for the end.
    product: object | None = None
    error: UnrollError | None = None
    #: The last outcome of this request: its rows are free. Always true beside an error.
    finished: bool = False


class StepBatch(Protocol[RequestT]):
    """Rows of many requests that share each run of a graph.

    An answer depends on its own request alone, whatever shares the batch with it, wherever rows of a graph do not
    depend on each other's presence.
    """

    @property
    def num_rows(self) -> int:
        """Rows in use, those of requests that have not been read yet included."""
        ...

    @property
    def is_idle(self) -> bool:
        """Nothing to advance."""
        ...

    def join(self, requests: Sequence[RequestT]) -> None:
        """Take requests in without running anything; the next `advance` begins to read them."""
        ...

    def advance(self, runner: Runner) -> list[Outcome[RequestT]]:
        """Run one graph once: a padded part of what joining requests have to read, or one step of all live rows.

        Where both are due they take turns, so that a long input never stalls the requests that are being stepped.
        A run that raises does not raise here: it ends exactly the requests that were in it, with its error. What does
        raise is a fault of the batch itself; then `clear` says whom it leaves without an answer.
        """
        ...

    def leave(self, requests: Iterable[RequestT]) -> None:
        """Forget requests at once, joining or live; their rows are free. Unknown ones are ignored."""
        ...

    def clear(self) -> list[RequestT]:
        """Forget everything, and say which requests that were."""
        ...


class StepTask(Protocol[RequestT]):
    """A task whose requests the continuous batcher runs."""

    def batch(self) -> StepBatch[RequestT]:
        """A new, empty batch."""
        ...

    def count_tokens(self, request: RequestT, product: Any) -> int:
        """Tokens generated for a request that has ended, for the metrics; `product` is its last one, None for none."""
        ...
