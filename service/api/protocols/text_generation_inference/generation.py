"""One request of text-generation-inference: the whole text at once, or an event for each token.

Beyond TGI: `state` and `session` continue an earlier text, `state_every` adds states to a stream from which a broken
one can be resumed, and `n` continues one prompt several times.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from service.api.call import Call
from service.api.error_table import Failure, plain_body
from service.api.event_stream import EventStream, Outlet
from service.api.protocols.text_generation_inference.events import (
    frame,
    intermediate_event,
    states_of,
    token_event,
    token_frame,
)
from service.api.protocols.text_generation_inference.timing_headers import Headers, size_headers, timing_headers
from service.api.request_record import StreamTimes
from service.api.schemas import GenerateRequest
from service.api.state_source import RequestState, open_request_state
from service.errors import InvalidInput, StateRefused, UnknownSession, UnrollError
from service.inference.scheduling.stream import Stream
from service.tasks.generation.recorded_form import GenerationParameters, written_answer
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import TokenEvent

ErrorEvent = Callable[[Failure], Mapping[str, Any]]


class WholeText(NamedTuple):
    """The body of an answer, and the headers with its times."""

    body: dict[str, Any]
    headers: Headers


async def whole_text(call: Call, body: GenerateRequest, model: str | None = None) -> WholeText:
    """Continue a prompt to the end. `model` is the name in the path; without it, that in the body holds."""
    if body.state_every is not None:
        raise InvalidInput("only a stream has intermediate states: use /generate_stream", ("state_every",))
    generation = _Generation(call, body, model)
    async with open_request_state(call.state_storage, generation.owner, body) as request_state:
        stream = await generation.start(request_state, is_streamed=False)
        try:
            await call.unless_client_leaves(stream.result())
        finally:
            stream.close()
            generation.note_end(stream)
        states = await generation.states(stream.request, request_state)
    answer = written_answer(stream.request.result(), generation.parameters, body.inputs, states)
    headers = generation.size_headers + timing_headers(stream, call.record)
    return WholeText(answer | request_state.told, headers)


async def streamed_text(
    call: Call, body: GenerateRequest, model: str | None = None, error_event: ErrorEvent = plain_body
) -> EventStream:
    """One event for each token. `error_event` writes the last one of a stream that failed."""
    if body.n > 1:
        raise InvalidInput("a stream has one continuation: use /generate for several", ("n",))
    if body.parameters is not None and body.parameters.ranks:
        raise InvalidInput("the best text is known at the end: do not stream it", ("parameters", "best_of"))
    generation = _Generation(call, body, model)
    async with AsyncExitStack() as stack:
        opening = open_request_state(call.state_storage, generation.owner, body)
        request_state = await stack.enter_async_context(opening)
        stream = await generation.start(request_state, is_streamed=True)
        stack.callback(generation.note_end, stream)
        stack.callback(stream.close)
        outlet = Outlet()
        frames = generation.frames(stream, request_state, error_event, outlet)
        response = EventStream(frames, stack.pop_all(), stream.close, outlet)
        response.raw_headers += generation.size_headers
        return response
    raise AssertionError("no context of ours swallows errors")


class _Generation:
    """One request and the model that answers it."""

    def __init__(self, call: Call, body: GenerateRequest, model: str | None) -> None:
        """Raises InvalidInput, UnknownModel, NotReady."""
        if model is not None and body.model not in (None, model):
            raise InvalidInput(f"the path names {model}: leave it out, or send the same", ("model",))
        engine = call.generation_engine(model or body.model, body.version, body.state, body.session)
        call.note_texts(body.inputs)
        self.parameters = GenerationParameters.when_absent() if body.parameters is None else body.parameters
        _check_combinations(body, self.parameters, call.settings.max_continuations)
        self.size_headers = size_headers(engine, body.inputs)
        self.owner = call.owner_of_states(engine)
        self._call, self._body, self._engine = call, body, engine

    async def start(self, request_state: RequestState, is_streamed: bool) -> Stream[GenerationRequest]:
        body, call, parameters = self._body, self._call, self.parameters
        before = await request_state.before()
        if before is None and not body.inputs and body.session is not None:
            raise UnknownSession(_unknown(body.session, is_anonymous=not self.owner.caller.strip()))
        num_texts = parameters.best_of or 1 if parameters.ranks else body.n
        keeps_state, state_every = request_state.is_wanted, body.state_every or 0
        lists_prompt = parameters.lists_prompt and not is_streamed
        delivery = Delivery(is_streamed, num_texts, keeps_state, state_every, lists_prompt, parameters.ranks)
        call.record.begun_s = time.monotonic()
        options, deadline_s = parameters.options, call.deadline_s
        try:
            return await self._engine.stream(body.inputs, options, deadline_s, delivery, before, call.sharer)
        except StateRefused as refused:  # sealed by this service, and yet no state of this model
            raise await request_state.drop(refused) from refused

    def note_end(self, stream: Stream[GenerationRequest]) -> None:
        """Keep the times of a finished stream for the metrics and for the request's record."""
        record = self._call.record
        self._engine.observe(stream, record.exemplar)
        record.stream_times = StreamTimes(
            record.begun_s,
            stream.enqueued_s,
            stream.started_s,
            stream.first_product_s if stream.request.is_streamed else 0.0,
            stream.ended_s,
            stream.request.num_produced,
        )

    async def states(self, request: GenerationRequest, request_state: RequestState) -> list[str]:
        """For each text of the answer a token to continue from, if the client asked for them."""
        if not request_state.is_wanted:
            return []
        states = self._engine.states(request)
        return await request_state.after(states[:1] if self.parameters.ranks else states)

    async def frames(
        self,
        stream: Stream[GenerationRequest],
        request_state: RequestState,
        error_event: ErrorEvent,
        outlet: Outlet,
    ) -> AsyncIterator[bytes]:
        """Server-sent events. Those that are ready at the same time are written together."""
        record, request = self._call.record, stream.request
        record.outcome = "cancelled"  # until the last event has been handed over

        def at_once(events: Sequence[TokenEvent]) -> bool:
            is_written = events[-1].finish_reason is None and outlet.is_ready
            if is_written:
                outlet.write(b"".join(map(token_frame, events)))
            return is_written

        try:
            async for events in stream.batches(None if self._body.state_every else at_once):
                states = await states_of(events, request, request_state)
                *firsts, last = events
                frames = [frame(intermediate_event(event, request, states)) for event in firsts]
                if last.finish_reason is None:
                    yield b"".join([*frames, frame(intermediate_event(last, request, states))])
                else:
                    yield b"".join([*frames, frame(await self._last_event(last, request, request_state))])
                    record.outcome = "ok"
        except UnrollError as error:
            yield frame(error_event(self._call.failure_in_stream(error)))

    async def _last_event(
        self, event: TokenEvent, request: GenerationRequest, request_state: RequestState
    ) -> dict[str, Any]:
        """Only the last event has the text; details and state if they were asked for."""
        body = token_event(event)
        body["generated_text"] = self.parameters.text_before(self._body.inputs) + request.text
        if self.parameters.details:
            body["details"] = {
                "finish_reason": event.finish_reason,
                "generated_tokens": event.index,
                "seed": request.seed,
                "input_length": len(request.prompt_ids),
            }
        for state in await self.states(request, request_state):
            body["state"] = state
        return body | request_state.told


def _unknown(session: str, is_anonymous: bool) -> str:
    message = f"there is no session {session!r} here, or no longer: begin it with a prompt"
    if is_anonymous:
        message += ", and continue with the `session` in its answer, or send an Authorization header with each request"
    return message


_NOTHING_TO_RETURN = (
    "must be at least 1; 0 only reads the prompt, for details with decoder_input_details, or to return its state"
)


def _check_combinations(body: GenerateRequest, parameters: GenerationParameters, limit: int) -> None:
    if body.n > limit:
        raise InvalidInput(f"at most {limit} continuations of one prompt are allowed", ("n",))
    if parameters.ranks:
        _check_best_of(body, parameters, limit)
    if body.n > 1 and body.session is not None:
        raise InvalidInput("a session continues one text: leave n out, or carry states", ("n",))
    keeps_state = body.return_state or body.session is not None
    if parameters.max_new_tokens == 0 and not (parameters.lists_prompt or keeps_state):
        raise InvalidInput(_NOTHING_TO_RETURN, ("parameters", "max_new_tokens"))
    if body.state_every is not None and body.session is not None:
        raise InvalidInput("a session keeps its state here: leave state_every out", ("state_every",))


def _check_best_of(body: GenerateRequest, parameters: GenerationParameters, limit: int) -> None:
    parameters.require_choice()
    if (parameters.best_of or 1) > limit:
        raise InvalidInput(f"at most {limit} texts are made to choose from", ("parameters", "best_of"))
    if body.n > 1:
        raise InvalidInput("best_of returns one text: leave n out, or best_of", ("n",))
