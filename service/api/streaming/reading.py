"""How the pieces of one input are read: answered one by one, with the state between them, or collected."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

from starlette.exceptions import HTTPException

from service.api.call import Call
from service.api.streaming.messages import Reads, Start
from service.api.streaming.pieces.byte_pieces import ByteFormat, BytePieces
from service.api.streaming.pieces.text_pieces import TextPieces
from service.errors import InvalidInput, Overloaded
from service.inference.engines.engine import Engine
from service.inference.engines.predict_engine import PredictEngine, Prediction
from service.tasks.core.offsets import OffsetUnit
from service.tasks.core.predict_task import InputState
from service.tasks.inputs.json_input import JsonInput

_UNITS: tuple[OffsetUnit, ...] = ("codepoints", "utf16", "bytes")

Body = dict[str, Any]


class TextPiece(NamedTuple):
    """A piece of text; with `flush` it ends with a whole word."""

    text: str
    flush: bool = False


class ArraysPiece(NamedTuple):
    """Named arrays as nested lists."""

    arrays: Mapping[str, Any]


#: Rows of numbers are lists, and bytes are in the format of the stream.
Piece = TextPiece | ArraysPiece | list[list[float]] | bytes


class HeldBytes(Protocol):
    """Counts what all connections hold, and says whether there is room."""

    body_bytes: int

    def make_room_for_bodies(self, num_bytes: int = 0) -> bool: ...


class Reading(Protocol):
    """One input from its `start` to its `end`."""

    @property
    def reads(self) -> Reads: ...
    @property
    def held(self) -> str:
        """Text that is not read yet, because its last word may not be complete."""
        ...

    async def take(self, piece: Piece) -> Body:
        """Read the next piece. Returns the fields of its `result`."""
        ...

    def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        """Continue the text so far: the fields of `token` messages, then those of the `result`."""
        ...

    def put_by(self, piece: bytes) -> bool:
        """Keep a piece that is read together with the next one, if that is possible. It has no answer of its own."""
        ...

    async def finish(self, *, goes_on: bool = False) -> Body:
        """The fields of `final`. With `goes_on` the state is asked for, to continue later."""
        ...

    def state(self) -> bytes | None:
        """The state after all that was read."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class StreamContext(NamedTuple):
    """What all readings of a connection share. Each engine call has its own deadline."""

    call: Call
    held_bytes: HeldBytes
    timeout_s: float

    def deadline_s(self) -> float:
        """Of a piece that begins to be read now."""
        return time.monotonic() + self.timeout_s


class ChunkReading:
    """Each piece is answered by the model, which continues from the state after the pieces before it."""

    reads: Reads = "chunks"

    def __init__(
        self,
        context: StreamContext,
        engine: PredictEngine,
        start: Start,
        form: ByteFormat | None,
        before: bytes | None,
    ) -> None:
        """`before` is the state to continue from."""
        self._context, self._engine, self._form = context, engine, form
        self._parameters = start.parameters or {}
        self._state: InputState | bytes | None = before
        bundle = engine.opened.bundle
        self._text = None if form else TextPieces(bundle, _offset_unit(self._parameters))
        self._bytes = BytePieces(form.unit_bytes) if form else None
        self._held_bytes = ""
        self._num_rows = 0
        self._last: list[Any] = []
        self._is_summary = bundle.manifest.task == "classification"

    @property
    def held(self) -> str:
        return self._text.held if self._text else self._held_bytes

    async def take(self, piece: Piece) -> Body:
        if isinstance(piece, TextPiece):
            if self._text is None:
                raise takes_no_text(self._engine)
            part = self._text.add(piece.text, piece.flush)
            return {"predictions": []} if part is None else await self._read(part.text, part.start, part.end)
        if isinstance(piece, ArraysPiece):
            raise takes_no_arrays(self._engine)
        if isinstance(piece, bytes):
            if self._form is None or self._bytes is None:
                raise _takes_no_bytes(self._engine)
            piece = self._form.rows(self._bytes.add(piece))
        body: Body = {"predictions": []}
        if piece:
            start, self._num_rows = self._num_rows, self._num_rows + len(piece)
            body = await self._read({"frames": piece}, start, self._num_rows)
        if self._bytes is not None:
            self._held_bytes = self._bytes.held
        return body

    def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        raise writes_no_text(self._engine)

    def put_by(self, piece: bytes) -> bool:
        return False

    async def finish(self, *, goes_on: bool = False) -> Body:
        if self._bytes is not None:
            self._bytes.require_complete()
        part = self._text.rest() if self._text else None
        if part is not None:
            return await self._read(part.text, part.start, part.end)
        return {"predictions": self._last if self._is_summary else []}

    def state(self) -> bytes | None:
        if self._state is None or isinstance(self._state, bytes):
            return self._state
        return self._state.to_bytes()

    def close(self) -> None:
        """Nothing is held but a word, or a row that is not complete."""

    async def _read(self, value: JsonInput, start: int, end: int) -> Body:
        context = self._context
        work = self._engine.predict_chunk(
            value, self._parameters, context.deadline_s(), self._state, context.call.sharer
        )
        prediction = await work
        self._state, self._last = prediction.state, prediction.answers
        return {"predictions": prediction.answers, "span": {"start": start, "end": end}}


class WholeReading:
    """The pieces are collected, within the limits of a request, and answered together at the end."""

    reads: Reads = "whole"
    held = ""

    def __init__(self, context: StreamContext, engine: PredictEngine, start: Start, form: ByteFormat | None) -> None:
        """Raises InvalidInput if there is a state, which such a model cannot continue from."""
        manifest = engine.opened.bundle.manifest
        refuse_state(engine, start)
        self._context, self._engine, self._form = context, engine, form
        self._parameters = start.parameters or {}
        self._collected = Collected(context, reads_sound=manifest.reads_sound)
        self._rows: list[list[float]] = []

    async def take(self, piece: Piece) -> Body:
        if isinstance(piece, TextPiece):
            if self._form is not None:
                raise takes_no_text(self._engine)
            self._collected.add(piece.text.encode("utf-8", "surrogatepass"))
        elif isinstance(piece, bytes):
            if self._form is None:
                raise _takes_no_bytes(self._engine)
            self._collected.add(piece)
        elif isinstance(piece, ArraysPiece):
            raise takes_no_arrays(self._engine)
        else:
            if self._form is None or self._form.encoding != "f32le":
                raise InvalidInput(f"{self._engine.opened.bundle.manifest.name} takes no rows of numbers", ("frames",))
            self._collected.count(sum(map(len, piece)) * _ROW_NUMBER_BYTES)
            self._rows += piece
        return {"predictions": []}

    def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        raise writes_no_text(self._engine)

    def put_by(self, piece: bytes) -> bool:
        return False

    async def finish(self, *, goes_on: bool = False) -> Body:
        context = self._context
        value = self._whole()
        if value is None:
            return {"predictions": []}
        work: Any = self._engine.predict(value, self._parameters, context.deadline_s(), context.call.sharer)
        prediction = cast(Prediction, await work)
        return {"predictions": prediction.answers}

    def state(self) -> bytes | None:
        return None

    def close(self) -> None:
        self._collected.close()

    def _whole(self) -> JsonInput | None:
        """All that came, as one input of `POST /predict`."""
        data = self._collected.data
        if self._form is None:
            return data.decode("utf-8", "surrogatepass") or None
        if self._rows and data:
            raise InvalidInput("an input has rows as JSON or as bytes, not both")
        if self._rows:
            return {"frames": self._rows}
        whole = BytePieces(self._form.unit_bytes)
        data = whole.add(data)
        whole.require_complete()
        return self._form.whole_input(data) if data else None


#: A number in a list of Python takes about that much memory.
_ROW_NUMBER_BYTES = 32


class Collected:
    """Pieces of an input that is answered at its end, counted among what all connections hold."""

    def __init__(self, context: StreamContext, *, reads_sound: bool = False) -> None:
        settings = context.call.settings
        self._held_bytes = context.held_bytes
        self._max_bytes = settings.most_sound_body_bytes if reads_sound else settings.max_body_bytes
        self._data = bytearray()
        self._num_counted = 0

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    def add(self, piece: bytes) -> None:
        """Collect a piece. Raises as `count`."""
        self.count(len(piece))
        self._data += piece

    def count(self, num_bytes: int) -> None:
        """Count what is collected elsewhere.

        Raises:
            HTTPException: 413, the input is larger than a request body may be.
            Overloaded: all connections together hold too much.
        """
        if self._num_counted + num_bytes > self._max_bytes:
            raise HTTPException(413, f"the input is larger than {self._max_bytes} bytes, and this model reads it whole")
        self._num_counted += num_bytes
        self._held_bytes.body_bytes += num_bytes
        if not self._held_bytes.make_room_for_bodies():
            raise Overloaded("too many bytes of inputs are held at this moment")

    def clear(self) -> None:
        """Release what is collected."""
        self._held_bytes.body_bytes -= self._num_counted
        self._num_counted = 0
        self._data = bytearray()

    close = clear


def writes_no_text(engine: PredictEngine) -> InvalidInput:
    """The error of `generate` for a model that predicts."""
    return InvalidInput(f"{engine.opened.bundle.manifest.name} writes no text: send end instead of generate")


def refuse_state(engine: PredictEngine, start: Start) -> None:
    """Raises InvalidInput if an input of a model that reads it as a whole has a state to continue from."""
    manifest = engine.opened.bundle.manifest
    for field in ("state", "session"):
        if getattr(start, field) is not None:
            raise InvalidInput(f"{manifest.name} {manifest.options.why_whole}: it has no state", (field,))


def takes_no_arrays(engine: Engine) -> InvalidInput:
    """The error of `tensors` for a model of another kind."""
    return InvalidInput(f"{engine.opened.bundle.manifest.name} takes no named arrays", ("tensors",))


def takes_no_text(engine: PredictEngine) -> InvalidInput:
    """The error of `text` for a model that reads numbers or bytes."""
    return InvalidInput(f"{engine.opened.bundle.manifest.name} takes numbers or bytes, not text", ("text",))


def _takes_no_bytes(engine: PredictEngine) -> InvalidInput:
    return InvalidInput(f"{engine.opened.bundle.manifest.name} takes text, not bytes")


def _offset_unit(parameters: Mapping[str, Any]) -> OffsetUnit:
    """The unit in which answers count; what is not one is refused by the task."""
    unit = parameters.get("offsets")
    return next((known for known in _UNITS if known == unit), "codepoints")
