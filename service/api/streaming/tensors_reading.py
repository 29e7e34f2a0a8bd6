"""Named arrays over a stream: each message is a chunk of an input, or all of it where the graph has no state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from service.api.streaming.messages import Reads, Start
from service.api.streaming.reading import ArraysPiece, Body, Collected, Piece, StreamContext, writes_no_text
from service.errors import InvalidInput
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.core.predict_task import InputState
from service.tasks.core.task import Tensors
from service.tasks.inputs.json_input import effort_of
from service.tasks.tensors.model_form import ModelForm

#: A number in a list of Python takes about that much memory; the unit of effort stands for a few of them.
_BYTES_PER_EFFORT = 128


class TensorsReading:
    """Answers each message where the graph has a state; else keeps the one message of an input, answered at its end."""

    held = ""

    def __init__(self, context: StreamContext, engine: PredictEngine, start: Start, before: bytes | None) -> None:
        """`before` is the state to continue from."""
        manifest = engine.opened.bundle.manifest
        self.reads: Reads = "chunks" if manifest.reads_chunks else "whole"
        self._context, self._engine = context, engine
        self._form = ModelForm(manifest)
        self._parameters = start.parameters or {}
        self._state: InputState | bytes | None = before
        self._whole: Tensors | None = None
        self._collected = Collected(context)
        self._num_steps = 0

    async def take(self, piece: Piece) -> Body:
        name = self._engine.opened.bundle.manifest.name
        if not isinstance(piece, ArraysPiece):
            raise InvalidInput(f'{name} takes named arrays: send {{"type": "tensors", "tensors": {{...}}}}')
        value = Tensors(piece.arrays)
        if self.reads == "chunks":
            return await self._read(value)
        if self._whole is not None:
            raise InvalidInput(f"{name} reads its input as a whole: one message of tensors, then end", ("tensors",))
        self._collected.count(effort_of(value) * _BYTES_PER_EFFORT)
        self._whole = value
        return {"predictions": []}

    def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        raise writes_no_text(self._engine)

    def put_by(self, piece: bytes) -> bool:
        return False

    async def finish(self, *, goes_on: bool = False) -> Body:
        if self._whole is None:
            return {"predictions": []}
        context = self._context
        prediction = await self._engine.predict(
            self._whole, self._parameters, context.deadline_s(), context.call.sharer
        )
        return {"predictions": prediction.answers}

    def state(self) -> bytes | None:
        if self._state is None or isinstance(self._state, bytes):
            return self._state
        return self._state.to_bytes()

    def close(self) -> None:
        self._collected.close()

    async def _read(self, value: Tensors) -> Body:
        context = self._context
        prediction = await self._engine.predict_chunk(
            value, self._parameters, context.deadline_s(), self._state, context.call.sharer
        )
        self._state = prediction.state
        start, self._num_steps = self._num_steps, self._num_steps + self._form.num_steps(value.arrays)
        return {"predictions": prediction.answers, "span": {"start": start, "end": self._num_steps}}
