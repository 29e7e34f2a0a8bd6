"""`ModelStreamInfer`: many requests over one call, each answered by one response or, token by token, by many.

Requests are answered side by side. Responses that are sent as a whole leave in the order of their requests; those of
token streams leave as they come, and have the id of their request. Requests of one sequence wait for each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc.aio

from service.api.call import Call
from service.api.protocols.open_inference.control import read_control
from service.api.protocols.open_inference.grpc_service.calls import (
    NAME,
    SERVICE,
    TOO_MANY,
    Arrival,
    Calls,
    abort,
    arrival_of,
    overload_of,
    require_body,
)
from service.api.protocols.open_inference.grpc_service.codec import parse, read_request, response_message
from service.api.protocols.open_inference.grpc_service.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from service.api.protocols.open_inference.grpc_service.places import Places
from service.api.protocols.open_inference.grpc_service.received import Context
from service.api.protocols.open_inference.grpc_service.status import Refusal, refusal_of
from service.api.protocols.open_inference.grpc_service.token_stream import (
    FINAL,
    TokenRequest,
    token_request,
    token_responses,
)
from service.api.protocols.open_inference.inference import infer
from service.api.protocols.open_inference.served_models import find_model
from service.api.protocols.open_inference.tensors.messages import InferRequest
from service.errors import StillOpening

METHOD_NAME = "ModelStreamInfer"
_ROUTE = f"/{SERVICE}/{METHOD_NAME}"


class Unread(Exception):
    """The client has read nothing for too long."""


class InferStreams:
    """Answers the streams of a service.

    Attributes:
        open: the number of them, those included whose clients have not read how they ended: each of them holds memory.
    """

    def __init__(self, calls: Calls) -> None:
        self.open = 0
        self._places = Places(calls.services.settings, calls.max_bytes)
        self._calls = calls
        self._running: set[InferStream] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Let each stream end once what it has read is answered, so that its client opens another one elsewhere."""
        self._is_stopping = True
        for stream in self._running:
            stream.stop()

    async def answer(self, _requests: object, context: Context) -> None:
        """Answer one call until its client has sent the last request, and has every response."""
        stream = InferStream(self._calls, self._places, context)
        if not self._places.take(stream.address, stream):
            self._calls.reports.shed(NAME)
            await abort(context, overload_of("too many streams are open at this moment"))
        self.open += 1
        try:
            await self._answer(stream, context)
        finally:
            self.open -= 1
            self._places.leave(stream)

    async def _answer(self, stream: InferStream, context: Context) -> None:
        settings = self._calls.services.settings
        self._running.add(stream)
        try:
            await stream.run()
            return
        except TimeoutError:
            code, message = self._end_of(stream)
        except ExceptionGroup as errors:
            if errors.subgroup(Unread) is None:
                raise
            code, message = grpc.StatusCode.ABORTED, f"no response was read for {settings.unread_timeout_s:g} s"
        finally:
            self._running.discard(stream)
        await abort(context, Refusal(code, message, ()))

    def _end_of(self, stream: InferStream) -> tuple[grpc.StatusCode, str]:
        """How a stream ends that was silent."""
        if self._is_stopping:
            return grpc.StatusCode.UNAVAILABLE, "the service stops: open another one"
        if stream.has_made_room:
            message = "the stream was silent while others needed its place: open another one"
            return grpc.StatusCode.RESOURCE_EXHAUSTED, message
        message = f"the stream was silent for {stream.silent_s:g} s: open another one"
        return grpc.StatusCode.DEADLINE_EXCEEDED, message


class InferStream:
    """One call. It ends when nothing is being answered and `silent_s` have passed without a request.

    Attributes:
        address: of its client.
        has_made_room: whether others needed its place.
    """

    def __init__(self, calls: Calls, places: Places, context: Context) -> None:
        settings = calls.services.settings
        self.has_made_room = False
        self._calls = calls
        self._places = places
        self._context = context
        self._arrival = arrival_of(context)
        self.address = calls.reports.client_of(self._arrival.client, self._arrival.headers)
        #: While requests are read.
        self._silence: asyncio.Timeout | None = None
        self._started_s = time.monotonic()
        self._unread_s, self.silent_s = settings.unread_timeout_s, settings.stream_timeout_s
        self._room = asyncio.Semaphore(settings.max_stream_waiting_messages)
        self._num_answering = 0
        self._last_turn: asyncio.Future[None] | None = None
        self._sequences: dict[str, asyncio.Lock] = {}
        self._in_sequence: Counter[str] = Counter()
        self._writing = asyncio.Lock()

    def stop(self) -> None:
        """End with what has been read."""
        self.silent_s = 0.0
        if self.is_silent:
            self._end()

    async def run(self) -> None:
        """Read requests and answer them.

        Raises:
            TimeoutError: no request came, or none is read any more, and none was being answered.
            ExceptionGroup: with Unread.
        """
        await self._begin()
        try:
            async with asyncio.timeout(self.silent_s) as self._silence, asyncio.TaskGroup() as tasks:
                while isinstance(raw := await self._read(), bytes):
                    if not self.silent_s:  # the service stops: what came too late is left unanswered
                        continue
                    self._silence.reschedule(None)
                    await self._room.acquire()  # what waits is not read, which the client notices
                    self._num_answering += 1
                    turn = Turn(self._last_turn)
                    self._last_turn = turn.ended
                    tasks.create_task(self._answer(raw, turn))
                self._silence.reschedule(None)
        finally:
            self._silence = None

    @property
    def is_silent(self) -> bool:
        """Whether its client is waited for."""
        silence = self._silence
        return silence is not None and silence.when() is not None and not silence.expired()

    def end_for_room(self) -> None:
        """End it, which is silent: others need its place."""
        self.has_made_room = True
        self._end()

    def _end(self) -> None:
        assert self._silence is not None, "it is silent"
        self._silence.reschedule(asyncio.get_running_loop().time())

    async def _begin(self) -> None:
        """Send metadata before the first response: while that is not read, no status could be sent that has to."""
        try:
            await self._context.send_initial_metadata(())
        except grpc.aio.BaseError as error:  # the client has left, which gRPC is about to tell this call
            raise asyncio.CancelledError from error

    async def _read(self) -> object:
        """The next message; something else at the end."""
        return await self._context.read()

    async def _answer(self, raw: bytes, turn: Turn) -> None:
        """Answer one request, which counts as a request of its own. Raises Unread."""
        room = self._calls.room
        try:
            with self._places.request(self.address) as has_place:
                if not has_place or not room.enter():
                    self._calls.reports.shed(NAME)
                    await self._refuse(overload_of(TOO_MANY), "", turn)
                    return
                try:
                    await self._answer_admitted(raw, turn)
                finally:
                    room.leave()
        finally:
            turn.end()
            self._room.release()
            self._num_answering -= 1
            self._note_answered()

    def _note_answered(self) -> None:
        """Wait for the client if nothing is being answered any more."""
        silence = self._silence
        if not self._num_answering and silence is not None and silence.when() is None:
            self._places.note_silent(self)
            silence.reschedule(asyncio.get_running_loop().time() + self.silent_s)

    async def _answer_admitted(self, raw: bytes, turn: Turn) -> None:
        with self._calls.recorded(_ROUTE, self._present()) as (record, arrival):
            form = ModelInferRequest()

            async def respond(message: bytes) -> None:
                require_body(call, message, takes_sound=True)
                form.CopyFrom(parse(ModelInferRequest, message))
                await self._respond(call, form, turn)

            try:
                call = self._calls.call(record, arrival, "any")
                await self._calls.messages.using(raw, respond)
            except Unread:
                record.outcome = "cancelled"
                raise
            except Exception as error:
                await self._refuse(refusal_of(record, error), form.id, turn)

    def _present(self) -> Arrival:
        """What the call said when it began, and how long it may still take."""
        ends_s = self._arrival.ends_s
        return self._arrival._replace(ends_s=None if ends_s is None else ends_s + self._started_s - time.monotonic())

    async def _respond(self, call: Call, form: ModelInferRequest, turn: Turn) -> None:
        request = read_request(form, call.settings)
        control = read_control(request.parameters)
        async with self._in_order(form.model_name, control.sequence_id):
            while True:
                try:
                    served = find_model(call, form.model_name, form.model_version or None)
                    asked = token_request(served, request, control)
                    if asked is None:
                        await self._send_whole(call, form, request, turn)
                    else:
                        turn.end()
                        await self._send_tokens(call, asked)
                    return
                except StillOpening as opening:  # nothing has begun yet: the engine is found first
                    await call.until_open(opening)

    async def _send_tokens(self, call: Call, asked: TokenRequest) -> None:
        async with aclosing(token_responses(call, asked)) as responses:
            async for response in responses:
                await self._write(ModelStreamInferResponse(infer_response=response))

    async def _send_whole(self, call: Call, form: ModelInferRequest, request: InferRequest, turn: Turn) -> None:
        answer = await infer(call, form.model_name, form.model_version or None, request)
        response = response_message(answer)
        response.parameters[FINAL].bool_param = True
        await turn.come()
        await self._write(ModelStreamInferResponse(infer_response=response))

    async def _refuse(self, refusal: Refusal, request_id: str, turn: Turn) -> None:
        """Send an error in place of a response. The stream goes on."""
        response = ModelInferResponse(id=request_id)
        response.parameters[FINAL].bool_param = True
        for name, value in refusal.metadata:
            response.parameters[name].string_param = value
        await turn.come()
        message = f"[{refusal.code.name}] {refusal.message}"
        await self._write(ModelStreamInferResponse(error_message=message, infer_response=response))

    async def _write(self, response: ModelStreamInferResponse) -> None:
        """Send a response. Raises Unread."""
        message = response.SerializeToString()
        async with self._writing:
            try:
                async with asyncio.timeout(self._unread_s):
                    await self._context.write(message)
            except TimeoutError as error:
                raise Unread from error
            except grpc.aio.BaseError as error:  # the client has left, which gRPC is about to tell this call
                raise asyncio.CancelledError from error

    @asynccontextmanager
    async def _in_order(self, model: str, sequence_id: str) -> AsyncIterator[None]:
        """After the requests of the same sequence that came before."""
        if not sequence_id:
            yield
            return
        key = f"{model} {sequence_id}"
        self._in_sequence[key] += 1
        try:
            async with self._sequences.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._in_sequence[key] -= 1
            if not self._in_sequence[key]:
                del self._in_sequence[key], self._sequences[key]


class Turn:
    """The place of a response among those that leave in the order of their requests."""

    def __init__(self, before: asyncio.Future[None] | None) -> None:
        """`before` ends with the response that goes first."""
        self._before = before
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def come(self) -> None:
        """Wait for the responses that go first."""
        if self._before is not None and not self._before.done():
            await asyncio.wait([self._before])  # which is cancelled with no one that waits for it

    def end(self) -> None:
        """The response has left, or there is none: the next one follows those before this one."""
        if self._before is None or self._before.done():
            self._note_end(None)
        else:
            self._before.add_done_callback(self._note_end)

    def _note_end(self, _before: object) -> None:
        self._before = None
        if not self.ended.done():
            self.ended.set_result(None)
