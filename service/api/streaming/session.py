"""The session of one connection: inputs one after the other, each from its `start` to its `end`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.exceptions import HTTPException

from service.api.error_table import error_response
from service.api.streaming.begin import begin_reading
from service.api.streaming.channel import Channel, Left, Received, Stopping
from service.api.streaming.close_codes import RESTART, close_code_of
from service.api.streaming.generation_reading import GenerationReading
from service.api.streaming.messages import Arrays, End, Frames, Generate, GetState, ReceivedMessage, Start, Text
from service.api.streaming.reading import ArraysPiece, Body, Piece, Reading, StreamContext, TextPiece
from service.api.streaming.report import StreamReports
from service.api.streaming.stream_state import StreamState
from service.api.validation.json_body import BodyLimits, parse_body
from service.errors import InvalidInput, RateLimited, UnrollError
from service.inference.engines.engine import Engine
from service.inference.engines.registry import Registry

#: Pieces that are left to be read with the next one, at most.
_MAX_PUT_BY = 64


class StreamSession:
    """Answers the messages of one client in order. One input is open at a time."""

    def __init__(self, registry: Registry, context: StreamContext, channel: Channel, reports: StreamReports) -> None:
        self._registry, self._context, self._channel, self._reports = registry, context, channel, reports
        self._reading: Reading | None = None
        self._engine: Engine | None = None
        self._state: StreamState | None = None
        #: The number of inputs that were answered.
        self._index = 0
        #: Pieces that are read with the next one, and have no answer yet.
        self._num_put_by = 0

    async def run(self) -> None:
        """Answer until the client leaves, the service stops, or something fails. Raises Left."""
        try:
            while not self._has_lasted():
                await self._answer(await self._channel.next_message())
            max_s = self._context.call.settings.max_stream_s
            await self._leave(f"a stream lasts at most {max_s:g} s: connect again, and continue from the state")
        except Stopping:
            await self._leave("the service stops")
        except Left:
            raise
        except Exception as error:
            await self._fail(error)
        finally:
            self._close()

    def _has_lasted(self) -> bool:
        """Whether the connection has been open for as long as it may be."""
        call = self._context.call
        max_s = call.settings.max_stream_s
        return bool(max_s) and time.monotonic() - call.record.started_s > max_s

    async def _leave(self, reason: str) -> None:
        """Tell the client from where it can go on, and close."""
        await self._channel.send({"type": "closing", "index": self._index, **self._where_if_known()})
        await self._channel.close(RESTART, reason)

    async def _answer(self, received: Received) -> None:
        if isinstance(received, bytes):
            self._require_size(received)
            if not (self._channel.more_bytes_wait and self._put_by(received)):
                await self._take(received)
            return
        settings = self._context.call.settings
        limits = BodyLimits(settings.max_stream_message_bytes, settings.max_inputs_per_request)
        message = parse_body(ReceivedMessage, received.encode("utf-8", "surrogatepass"), limits).root
        match message:
            case Start():
                await self._start(message)
            case Text():
                await self._take(TextPiece(message.text, message.flush))
            case Frames():
                await self._take(message.frames)
            case Arrays():
                await self._take(ArraysPiece(message.tensors))
            case Generate():
                await self._generate(message)
            case GetState():
                self._open("state")
                await self._channel.send({"type": "state", "index": self._index, "state": None, **self._where()})
            case End():
                await self._end(message)

    async def _start(self, message: Start) -> None:
        if self._reading is not None:
            raise HTTPException(409, "an input is open: send end before the next start")
        self._index = 0
        begun = await begin_reading(self._registry, self._context, message)
        self._reading, self._engine, self._state, started = begun
        await self._channel.send({"type": "started", **started})

    async def _take(self, piece: Piece) -> None:
        reading = self._open("an input")
        with self._reports.piece(self._context.call.record, is_request=reading.reads == "chunks"):
            body = await self._kept(await reading.take(piece))
        while self._num_put_by:
            self._num_put_by -= 1
            await self._send_result({"predictions": []})
        await self._send_result(body)

    async def _send_result(self, body: Body) -> None:
        self._index += 1
        await self._channel.send({"type": "result", "index": self._index, **body})

    def _require_size(self, piece: bytes) -> None:
        """Raises HTTPException for a message that is larger than others, unless it is sound."""
        settings, engine = self._context.call.settings, self._engine
        is_sound = engine is not None and engine.opened.bundle.manifest.reads_sound
        limit = settings.max_stream_sound_bytes if is_sound else settings.max_stream_message_bytes
        if len(piece) > limit:
            raise HTTPException(413, f"a message of bytes has {len(piece)} bytes, at most {limit} are read")

    def _put_by(self, piece: bytes) -> bool:
        """Leave a piece to be read with the next, which waits already.

        It has its answer after that, and not before its sound is in the state: a client that goes on elsewhere sends
        again what was not answered.
        """
        reading = self._open("an input")
        if self._num_put_by >= _MAX_PUT_BY or not reading.put_by(piece):
            return False
        with self._reports.piece(self._context.call.record):
            self._num_put_by += 1
        return True

    async def _generate(self, message: Generate) -> None:
        body = await self._written(self._open("generate"), message.parameters)
        await self._channel.send({"type": "result", "index": self._index, **body})

    async def _end(self, message: End) -> None:
        reading = self._open("end")
        if isinstance(reading, GenerationReading):
            body = {} if reading.is_continued else await self._written(reading, None)
        else:
            with self._reports.piece(self._context.call.record):
                body = await self._kept(await reading.finish(goes_on=message.return_state))
        if message.return_state:
            body = {**body, "state": self._where().get("state")}
        self._close()
        await self._channel.send({"type": "final", "index": self._index, **body})

    async def _written(self, reading: Reading, parameters: Any | None) -> Body:
        """Send the tokens of a continuation. Returns the fields of the message after them."""
        with self._reports.piece(self._context.call.record):
            bodies: AsyncIterator[Body] = reading.generate(parameters)
            async with aclosing(bodies):  # type: ignore[type-var]  # generators of ours
                async for body in bodies:
                    if "number" not in body:
                        return await self._kept(body)
                    await self._channel.send({"type": "token", "index": self._index, **body})
        raise AssertionError("a continuation ends with its text")

    async def _kept(self, body: Body) -> Body:
        """The answer, after the state behind it is in the session, if there is one."""
        if self._state is None or self._state.session is None or self._reading is None:
            return body  # the state stays an object, as long as nobody asks for it
        is_kept = await self._state.keep(self._reading.state())
        return body if is_kept else {**body, "session_kept": False}

    def _open(self, what: str) -> Reading:
        """The input that is open. Raises HTTPException if there is none."""
        if self._reading is None:
            raise HTTPException(409, f'{what} came before an input was begun: send {{"type": "start", "model": ...}}')
        return self._reading

    def _where(self) -> Body:
        """From where the client can go on: the state, if there is one, and the part of a word or row beyond it."""
        if self._reading is None or self._engine is None:
            return {}
        if (state := self._reading.state()) is None:
            return {"held": self._reading.held} if self._reading.held else {}
        call = self._context.call
        token = call.state_storage.sealer.seal(state, call.owner_of_states(self._engine))
        return {"state": token, "held": self._reading.held}

    def _where_if_known(self) -> Body:
        """The same, at the end of the connection: a state that is too large to be handed out is left out."""
        try:
            return self._where()
        except UnrollError:
            return {}

    async def _fail(self, error: Exception) -> None:
        """Tell the client what is wrong and from where it can go on, and close."""
        record = self._context.call.record
        if isinstance(error, InvalidInput) and error.field[:1] == ("inputs",):  # a field of POST /predict
            error = InvalidInput(error.message, error.field[1:])
        response = error_response(record, error)
        body = json.loads(bytes(response.body)) | self._where_if_known()
        if isinstance(error, RateLimited):
            body["retry_after_s"] = round(error.retry_after_s, 1)
        await self._channel.send({"type": "error", **body, "index": self._index})
        await self._channel.close(close_code_of(response.status_code), str(body["error"]))

    def _close(self) -> None:
        reading, self._reading, self._num_put_by = self._reading, None, 0
        if reading is not None:
            reading.close()
