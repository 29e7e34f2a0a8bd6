"""Triton's extension for generation: `generate` and `generate_stream`, with one text in JSON in place of tensors."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from pydantic import ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import plain_body
from service.api.event_stream import EventStream, Outlet, json_text
from service.api.protocols.open_inference.control import Control, read_control
from service.api.protocols.open_inference.generation import Prompts, read_parameters, start, times_of
from service.api.protocols.open_inference.http_codec import JsonForm
from service.api.protocols.open_inference.inference import infer
from service.api.protocols.open_inference.served_models import ServedModel, find_model
from service.api.protocols.open_inference.tensors.messages import InferRequest, Tensor, texts
from service.api.protocols.open_inference.tensors.task_inputs import TEXT_INPUT
from service.api.protocols.open_inference.tensors.task_outputs import TEXT_OUTPUT
from service.api.protocols.open_inference.tensors.tensor_data import json_of
from service.errors import InvalidInput, UnrollError
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import TokenEvent


class GenerateForm(JsonForm):
    """A text, and parameters: in `parameters`, or beside the text as some clients send them."""

    model_config = ConfigDict(extra="allow", strict=True)

    text_input: str = Field(description="the text, for a language model the prompt")
    parameters: dict[str, Any] | None = None
    id: str = Field("", max_length=256)
    stream: bool = Field(False, description="the path decides")

    @property
    def all_parameters(self) -> dict[str, Any]:
        """Those of both places."""
        return {**(self.model_extra or {}), **(self.parameters or {})}

    @property
    def request(self) -> InferRequest:
        """The same as tensors."""
        return InferRequest({TEXT_INPUT: texts(TEXT_INPUT, [self.text_input])}, (), self.all_parameters, self.id)


async def generate(call: Call, body: GenerateForm) -> Response:
    """The answer to one text, by the names of the outputs: `text_output` for models that write text."""
    name, version = call.path_values["model"], call.path_values.get("version")
    return Response(to_json(await _whole(call, name, version, body)), media_type="application/json")


async def generate_stream(call: Call, body: GenerateForm) -> Response:
    """Server-sent events: one for each token of a language model, one in all for every other model."""
    name, version = call.path_values["model"], call.path_values.get("version")
    served = find_model(call, name, version)
    control = read_control(body.all_parameters)
    async with AsyncExitStack() as stack:
        if served.graph or not isinstance(served.engine, GenerationEngine):
            answer = await _whole(call, name, version, body)
            return EventStream(_one(answer), stack.pop_all(), on_leave=lambda: None)
        if control.sequence_id:
            raise InvalidInput("a stream keeps no state: use `infer` or `generate`", ("parameters", "sequence_id"))
        stream = await _begin(call, served.engine, body, control)
        stack.callback(_note_end, call, served.engine, stream)
        stack.callback(stream.close)
        outlet = Outlet()
        return EventStream(_frames(call, served, stream, body.id, outlet), stack.pop_all(), stream.close, outlet)
    raise AssertionError("no context of ours swallows errors")


async def _whole(call: Call, name: str, version: str | None, body: GenerateForm) -> dict[str, Any]:
    response = await infer(call, name, version, body.request)
    head = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        head["id"] = response.id
    return head | {tensor.name: _plain(tensor) for tensor in response.outputs}


def _plain(tensor: Tensor) -> Any:
    """The elements of the one row; the element itself where there is one."""
    elements = json_of(tensor)
    return elements[0] if len(tensor.shape) == 1 else elements


async def _begin(
    call: Call, engine: GenerationEngine, body: GenerateForm, control: Control
) -> Stream[GenerationRequest]:
    deadline_s = control.deadline_s(call.deadline_s, call.record.started_s)
    prompts = Prompts([body.text_input], read_parameters(control.others), deadline_s)
    call.note_texts(body.text_input)
    call.record.begun_s = time.monotonic()
    return await start(call, engine, body.text_input, prompts, Delivery(is_streamed=True))


def _note_end(call: Call, engine: GenerationEngine, stream: Stream[GenerationRequest]) -> None:
    engine.observe(stream, call.record.exemplar)
    call.record.stream_times = times_of(call, [stream])


async def _one(answer: Mapping[str, Any]) -> AsyncIterator[bytes]:
    yield _frame(answer)


async def _frames(
    call: Call, served: ServedModel, stream: Stream[GenerationRequest], request_id: str, outlet: Outlet
) -> AsyncIterator[bytes]:
    """An event for each token; the last says why the text ended. Those that are ready together are written together."""
    head = {"model_name": served.name, "model_version": served.manifest.version}
    if request_id:
        head["id"] = request_id
    call.record.outcome = "cancelled"  # until the last event has been handed over
    beginning = b"data: %b,%b:" % (to_json(head)[:-1], to_json(TEXT_OUTPUT))

    def at_once(events: Sequence[TokenEvent]) -> bool:
        is_written = events[-1].finish_reason is None and outlet.is_ready
        if is_written:
            outlet.write(b"".join([b"%b%b}\n\n" % (beginning, json_text(_text_of(event))) for event in events]))
        return is_written

    try:
        async for events in stream.batches(at_once):
            written = []
            for event in events:
                body = head | {TEXT_OUTPUT: _text_of(event)}
                if event.finish_reason is not None:
                    body["finish_reason"] = event.finish_reason
                written.append(_frame(body))
            yield b"".join(written)
        call.record.outcome = "ok"
    except UnrollError as error:
        yield _frame(plain_body(call.failure_in_stream(error)))


def _text_of(event: TokenEvent) -> str:
    return "" if event.token.is_special else event.token.text


def _frame(body: Mapping[str, Any]) -> bytes:
    return b"data: " + to_json(body) + b"\n\n"
