"""A language model's answer to one prompt as a response for each token, as Triton calls it a decoupled one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from service.api.call import Call
from service.api.protocols.open_inference.control import Control
from service.api.protocols.open_inference.generation import Prompts, read_parameters, start, times_of
from service.api.protocols.open_inference.graph_inference import matching_graph
from service.api.protocols.open_inference.grpc_service.codec import response_message
from service.api.protocols.open_inference.grpc_service.open_inference_pb2 import ModelInferResponse
from service.api.protocols.open_inference.inference import read_rows, renamed, wanted_outputs
from service.api.protocols.open_inference.sequences import is_continued
from service.api.protocols.open_inference.served_models import ServedModel, task_tensors
from service.api.protocols.open_inference.tensors.classes import require_scores
from service.api.protocols.open_inference.tensors.messages import InferRequest, InferResponse, Tensor, texts
from service.api.protocols.open_inference.tensors.task_outputs import TEXT_OUTPUT
from service.errors import InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import TokenEvent

#: Tells clients the last response to a request.
FINAL = "triton_final_response"


class TokenRequest(NamedTuple):
    """One prompt for a language model, whose tokens are sent as they come."""

    served: ServedModel
    engine: GenerationEngine
    request: InferRequest
    control: Control


def token_request(served: ServedModel, request: InferRequest, control: Control) -> TokenRequest | None:
    """The request as one whose tokens are streamed; None if its answer is sent as a whole.

    It is for graphs, for several prompts at once, and for requests that continue others or can be continued.
    """
    engine = served.engine
    is_single = len(request.inputs) == 1 and all(tensor.num_elements == 1 for tensor in request.inputs.values())
    if not isinstance(engine, GenerationEngine) or served.graph or not is_single:
        return None
    if is_continued(request, control) or matching_graph(served, request):
        return None
    return TokenRequest(served, engine, request, control)


async def token_responses(call: Call, asked: TokenRequest) -> AsyncGenerator[ModelInferResponse, None]:
    """A response for each token; the last one also says why the text ended.

    Raises:
        InvalidInput: with a path that begins with `inputs`, `outputs` or `parameters`.
        Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
    """
    tensors = task_tensors(asked.engine)
    wanted = wanted_outputs(asked.request, tensors.output_names, tensors.default_outputs)
    require_scores(asked.request.outputs, tensors.signature.outputs)
    rows = read_rows(call, tensors, asked.request)
    call.note_texts(rows.texts)
    stream = await _begin(call, asked, rows.prompts[0])
    try:
        num_tokens = 0
        async for events in stream.batches():
            for event in events:
                num_tokens += 1
                outputs = _outputs(event, num_tokens, rows.shape, wanted)
                yield _message(asked, outputs, is_last=event.finish_reason is not None)
    finally:
        stream.close()
        asked.engine.observe(stream, call.record.exemplar)
        call.record.stream_times = times_of(call, [stream])


async def _begin(call: Call, asked: TokenRequest, prompt: str) -> Stream[GenerationRequest]:
    control = asked.control
    deadline_s = control.deadline_s(call.deadline_s, call.record.started_s)
    prompts = Prompts([prompt], read_parameters(control.others), deadline_s)
    call.record.begun_s = time.monotonic()
    try:
        return await start(call, asked.engine, prompt, prompts, Delivery(is_streamed=True))
    except InvalidInput as error:
        raise renamed(error, asked.request) from error


def _outputs(event: TokenEvent, num_tokens: int, shape: tuple[int, ...], wanted: Sequence[str]) -> list[Tensor]:
    """Those of the wanted outputs that this event has."""
    found = {TEXT_OUTPUT: texts(TEXT_OUTPUT, ["" if event.token.is_special else event.token.text], shape)}
    if event.finish_reason is not None:
        found["finish_reason"] = texts("finish_reason", [event.finish_reason], shape)
        found["generated_tokens"] = Tensor("generated_tokens", "INT64", shape, [num_tokens])
    return [found[name] for name in wanted if name in found]


def _message(asked: TokenRequest, outputs: Sequence[Tensor], *, is_last: bool) -> ModelInferResponse:
    version = asked.served.manifest.version
    message = response_message(InferResponse(asked.served.name, version, outputs, asked.request.id))
    message.parameters[FINAL].bool_param = is_last
    return message
