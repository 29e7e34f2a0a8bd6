"""Streaming speech recognition: pieces of sound or of frames in, finished utterances and the partial one out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from service.api.streaming.messages import Reads, Start
from service.api.streaming.pieces.byte_pieces import ByteFormat, BytePieces
from service.api.streaming.reading import (
    ArraysPiece,
    Body,
    Piece,
    StreamContext,
    TextPiece,
    takes_no_arrays,
    takes_no_text,
    writes_no_text,
)
from service.errors import InvalidInput
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.core.predict_task import InputState
from service.tasks.core.task import Frames, Waveform
from service.tasks.inputs.json_input import read_frames

#: Pieces that have piled up are read together up to this size: more sound in one run, and fewer runs.
_MAX_TOGETHER_BYTES = 64 * 1024


class SignalReading:
    """Each piece is answered with what is new: utterances that have ended, and the one under way.

    The state between pieces is an object that is never copied; it becomes bytes only where somebody asks for it. What
    a stream holds besides is bounded: less than a number of the last piece, and `_MAX_TOGETHER_BYTES` of those that
    have piled up.
    """

    reads: Reads = "chunks"

    def __init__(
        self, context: StreamContext, engine: PredictEngine, start: Start, form: ByteFormat, before: bytes | None
    ) -> None:
        """`before` is the state to continue from."""
        self._context, self._engine, self._form = context, engine, form
        self._parameters = start.parameters or {}
        self._state: InputState | bytes | None = before
        self._bytes = BytePieces(form.unit_bytes)
        self.held = ""
        self._together = bytearray()
        self._read_s = self._busy_s = 0.0
        self._series = engine.speech
        self._series.streams.inc()

    def put_by(self, piece: bytes) -> bool:
        """Keep a piece, to be read together with the next one; False if that would be too much at once."""
        if len(self._together) + len(piece) > _MAX_TOGETHER_BYTES:
            return False
        self._together += piece
        return True

    async def take(self, piece: Piece) -> Body:
        began_s = time.monotonic()
        value = self._value_of(piece)
        told = self._told([], began_s) if value is None else await self._read(value, began_s, is_last=False)
        self.held = self._bytes.held  # now, and not of a piece that has failed
        return told

    def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        raise writes_no_text(self._engine)

    async def finish(self, *, goes_on: bool = False) -> Body:
        began_s = time.monotonic()
        self._bytes.require_complete()
        if goes_on or self._state is None:
            return self._told([], began_s)
        return await self._read(None, began_s, is_last=True)

    def state(self) -> bytes | None:
        if self._state is None or isinstance(self._state, bytes):
            return self._state
        return self._state.to_bytes()

    def close(self) -> None:
        """The stream is counted no more."""
        self._series.streams.dec()

    def _value_of(self, piece: Piece) -> Frames | Waveform | None:
        """What is complete with this piece; None if nothing is. Raises InvalidInput."""
        if isinstance(piece, TextPiece):
            raise takes_no_text(self._engine)
        if isinstance(piece, ArraysPiece):
            raise takes_no_arrays(self._engine)
        if isinstance(piece, bytes):
            if self._together:
                piece, self._together = bytes(self._together) + piece, bytearray()
            data = self._bytes.add(piece)
            return self._form.value(data) if data else None
        if self._form.encoding != "f32le":
            raise InvalidInput(f"{self._engine.opened.bundle.manifest.name} takes no rows of numbers", ("frames",))
        return read_frames(piece) if piece else None

    async def _read(self, value: Frames | Waveform | None, began_s: float, *, is_last: bool) -> Body:
        context = self._context
        prediction = await self._engine.predict_chunk(
            value, self._parameters, context.deadline_s(), self._state, context.call.sharer, is_last
        )
        self._state = None if is_last else prediction.state
        self._read_s += prediction.sound_s
        self._series.answer(prediction.answers, time.monotonic() - began_s, is_last=is_last)
        return self._told(prediction.answers, began_s)

    def _told(self, predictions: list[Any], began_s: float) -> Body:
        """The fields of a `result`. The real-time factor is that of the input so far."""
        took_s = time.monotonic() - began_s
        self._busy_s += took_s
        told: Body = {"predictions": predictions, "processing_ms": round(took_s * 1000, 3)}
        if self._read_s:
            told["audio_s"] = round(self._read_s, 6)
            told["real_time_factor"] = round(self._busy_s / self._read_s, 6)
        return told
