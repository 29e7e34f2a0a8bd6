"""Tasks whose graph takes and returns its state: each chunk of an input is answered like a whole input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from service.bundle.manifest import Manifest
from service.tasks.core.chunk_state import ChunkState, RowState, require_value, state_after, state_before
from service.tasks.core.predict_task import ChunkReader, PredictTask
from service.tasks.core.task import PredictInput


class ChunkExample(Protocol):
    """A chunk as a dataclass, with the state that was computed from the chunks before it; None for the first."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    before: ChunkState | None

    @property
    def length(self) -> int: ...


class ChunkOutput(Protocol):
    """An output of a row, with the state after it; None if the graph has none."""

    @property
    def after(self) -> RowState | None: ...


ChunkExampleT = TypeVar("ChunkExampleT", bound=ChunkExample)
ChunkOutputT = TypeVar("ChunkOutputT", bound=ChunkOutput)


class ChunkedTask(PredictTask[ChunkExampleT, ChunkOutputT]):
    """A task that is its own `ChunkReader`. `run` begins each row with the `before` of its example."""

    _manifest: Manifest

    @property
    def chunks(self) -> ChunkReader[ChunkExampleT, ChunkOutputT, ChunkState]:
        return self

    def chunk(
        self, value: PredictInput | None, parameters: Any, before: ChunkState | bytes | None, is_last: bool
    ) -> ChunkExampleT:
        del is_last  # every chunk is answered at once
        state = state_before(self._manifest, before)
        return replace(self.preprocess(require_value(value), parameters), before=state)

    def answers(self, plain_answer: Any) -> list[Any]:
        return [plain_answer]

    def state_after(self, example: ChunkExampleT, output: ChunkOutputT) -> ChunkState:
        return state_after(self._manifest, output.after, example.before, example.length)
