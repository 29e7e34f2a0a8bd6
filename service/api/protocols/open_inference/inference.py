"""`infer`: from the tensors of a request to those of its answer, through the engine of the model's task.

A model takes the tensors of its task. It also takes those of one of its graphs, where their names and datatypes are
just those; the same graph has a name of its own, `MODEL.GRAPH`, under which its tensors are described.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.api.call import Call, TaskEngine
from service.api.protocols.open_inference.control import (
    Control,
    read_control,
    refuse_hidden_parameters,
    without_normalize,
)
from service.api.protocols.open_inference.generation import Prompts, generate_all, read_parameters, written
from service.api.protocols.open_inference.graph_inference import matching_graph, run_graph
from service.api.protocols.open_inference.sequences import (
    Continuation,
    is_continued,
    open_continuation,
    state_tensor,
)
from service.api.protocols.open_inference.served_models import STATE, ServedModel, TaskTensors, find_model, task_tensors
from service.api.protocols.open_inference.tensors.classes import ranked_classes, require_scores
from service.api.protocols.open_inference.tensors.messages import InferRequest, InferResponse, Tensor, numbers
from service.api.protocols.open_inference.tensors.named_arrays import ArrayInputs, parameters_for, renamed_row
from service.api.protocols.open_inference.tensors.task_inputs import Rows
from service.bundle.hidden_output import EMBEDDING, why_no_embedding, without_hidden
from service.bundle.manifest import Manifest
from service.errors import InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.core.hidden import unit_vector

#: What values are called in `POST /predict`, where they are members of objects.
_JSON_NAMES = frozenset({"frames", "wav", "png"})


async def infer(call: Call, name: str, version: str | None, request: InferRequest) -> InferResponse:
    """Answer one request.

    Raises:
        UnknownModel: there is no such model, version or graph.
        InvalidInput: a tensor, an output or a parameter is refused; the path begins with `inputs`, `outputs` or
            `parameters`.
        StateRefused, SessionBusy, Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
    """
    served = find_model(call, name, version)
    control = read_control(request.parameters)
    deadline_s = control.deadline_s(call.deadline_s, call.record.started_s)
    if not served.graph and (graph := matching_graph(served, request)):
        served = served.of_graph(graph)
    if served.graph:
        outputs = await _infer_graph(call, served, request, control, deadline_s)
    else:
        outputs = await _infer_task(call, served, request, control, deadline_s)
    return InferResponse(name, served.manifest.version, outputs, request.id)


async def _infer_graph(
    call: Call, served: ServedModel, request: InferRequest, control: Control, deadline_s: float
) -> list[Tensor]:
    names = [tensor.name for tensor in served.spec.outputs]
    wanted = wanted_outputs(request, names, [tensor.name for tensor in without_hidden(served.spec).outputs])
    require_scores(request.outputs, served.signature.outputs)
    if control.sequence_id or control.others:
        unknown = "sequence_id" if control.sequence_id else next(iter(control.others))
        raise InvalidInput("a graph alone has no parameters: its state is among its tensors", ("parameters", unknown))
    outputs = {tensor.name: tensor for tensor in await run_graph(call, served, request, deadline_s)}
    labels = served.manifest.labels
    named = {"logits": labels, "emissions": labels, "text_logits": served.manifest.text_labels}
    return _ranked([outputs[name] for name in wanted], request, named)


async def _infer_task(
    call: Call, served: ServedModel, request: InferRequest, control: Control, deadline_s: float
) -> list[Tensor]:
    tensors = task_tensors(served.engine)
    defaults = tensors.default_outputs
    if "top_k" in control.others and "top_labels" in tensors.writers:
        defaults = [*defaults, "top_labels", "top_scores"]
    wanted = wanted_outputs(request, tensors.output_names, defaults, served.manifest)
    require_scores(request.outputs, tensors.signature.outputs)
    rows = read_rows(call, tensors, request)
    if isinstance(tensors.input, ArrayInputs) and isinstance(served.engine, PredictEngine):
        count = tensors.input.require_few(request, rows, wanted)
        control = control._replace(others=parameters_for(served.engine, control.others, count))
    call.note_texts(rows.texts)
    try:
        outputs = await _answered(call, served, tensors, request, control, rows, wanted, deadline_s)
    except InvalidInput as error:
        raise renamed(error, request) from error
    return _ranked(outputs, request, tensors.labels)


async def _answered(
    call: Call,
    served: ServedModel,
    tensors: TaskTensors,
    request: InferRequest,
    control: Control,
    rows: Rows,
    wanted: Sequence[str],
    deadline_s: float,
) -> list[Tensor]:
    engine = served.engine
    if EMBEDDING in wanted:
        if control.sequence_id or STATE in request.inputs:
            message = "an embedding is that of a whole input: ask for it without a sequence or state"
            raise InvalidInput(message, ("outputs", EMBEDDING))
        others = [name for name in wanted if name != EMBEDDING]
        control, normalizes = without_normalize(control)
        vectors = await _embedded(call, engine, rows, deadline_s, normalizes=normalizes)
        further = await _answered(call, served, tensors, request, control, rows, others, deadline_s) if others else []
        found = {tensor.name: tensor for tensor in (vectors, *further)}
        return [found[name] for name in wanted]
    refuse_hidden_parameters(control)
    run = _generate if isinstance(engine, GenerationEngine) else _predict
    if not is_continued(request, control):
        found = await run(call, engine, rows, control, deadline_s, wanted, None)
        return [found[name] for name in wanted]
    async with open_continuation(call, engine, tensors, request, control) as continuation:
        found = await run(call, engine, rows, control, deadline_s, wanted, continuation)
        return [found[name] for name in wanted]


async def _embedded(call: Call, engine: TaskEngine, rows: Rows, deadline_s: float, *, normalizes: bool) -> Tensor:
    """The hidden state of each row as one vector."""
    vectors, _, timings = await call.unless_client_leaves(engine.embedder.embed(rows.values, deadline_s, call.sharer))
    call.record.note_timings(timings)
    return numbers(EMBEDDING, np.stack([unit_vector(vector) for vector in vectors]) if normalizes else vectors)


async def _predict(
    call: Call,
    engine: Any,
    rows: Rows,
    control: Control,
    deadline_s: float,
    wanted: Sequence[str],
    continuation: Continuation | None,
) -> dict[str, Tensor]:
    """The outputs of a task that predicts; of those that are wanted."""
    assert isinstance(engine, PredictEngine)
    inputs, writers = rows.values, task_tensors(engine).writers
    if continuation is None:
        work = engine.predict(inputs, control.others, deadline_s, call.sharer)
    else:
        is_last = STATE not in wanted and (control.is_end or not control.sequence_id)
        work = engine.predict_chunk(inputs, control.others, deadline_s, continuation.before, call.sharer, is_last)
    prediction = await call.unless_client_leaves(work)
    call.record.note_timings(prediction.timings)
    found = {name: writers[name](name, prediction, rows.shape) for name in wanted if name != STATE}
    if continuation is not None and prediction.state is not None:
        found[STATE] = state_tensor(await continuation.keep(prediction.state.to_bytes()))
    elif continuation is not None:
        await continuation.end()
    return found


async def _generate(
    call: Call,
    engine: Any,
    rows: Rows,
    control: Control,
    deadline_s: float,
    wanted: Sequence[str],
    continuation: Continuation | None,
) -> dict[str, Tensor]:
    """The outputs of a language model."""
    del wanted  # they cost nothing
    assert isinstance(engine, GenerationEngine)
    prompts = Prompts(rows.prompts, read_parameters(control.others), deadline_s)
    if continuation is None:
        return written(await generate_all(call, engine, prompts), prompts, rows.shape)
    if len(prompts.texts) != 1:
        raise InvalidInput("a request that continues another has one text", ("inputs",))
    (request,) = requests = await generate_all(call, engine, prompts, continuation.before, returns_state=True)
    token = await continuation.keep(engine.states(request)[0])
    return written(requests, prompts, rows.shape) | {STATE: state_tensor(token)}


def read_rows(call: Call, tensors: TaskTensors, request: InferRequest) -> Rows:
    """The values of the inputs, but for the state. Raises InvalidInput."""
    inputs = request.inputs
    if STATE in inputs and tensors.keeps_state:
        inputs = {name: tensor for name, tensor in inputs.items() if name != STATE}
    try:
        return tensors.input.read(inputs, call.settings.max_inputs_per_request)
    except InvalidInput as error:
        raise error if error.field[:1] == ("inputs",) else error.under("inputs") from error


def wanted_outputs(
    request: InferRequest, known: Sequence[str], defaults: Sequence[str], manifest: Manifest | None = None
) -> Sequence[str]:
    """The names of the outputs, checked before anything is computed. `manifest` is that of a task's model.

    Raises:
        InvalidInput: there is no such output.
    """
    for output in request.outputs:
        if output.name not in known:
            if output.name == EMBEDDING and manifest is not None:
                raise InvalidInput(why_no_embedding(manifest), ("outputs", output.name))
            message = f"there is no such output; this model has: {', '.join(known)}"
            raise InvalidInput(message, ("outputs", output.name))
    return [output.name for output in request.outputs] or defaults


def _ranked(outputs: list[Tensor], request: InferRequest, labels: Mapping[str, Sequence[str]]) -> list[Tensor]:
    """The outputs, with classes in place of those that were asked for as such."""
    counts = {output.name: output.num_classes for output in request.outputs if output.num_classes}
    if not counts:
        return outputs
    return [
        ranked_classes(tensor, counts[tensor.name], labels.get(tensor.name, ())) if tensor.name in counts else tensor
        for tensor in outputs
    ]


def renamed(error: InvalidInput, request: InferRequest) -> InvalidInput:
    """The error of an engine, whose path is `inputs.<row>`, with the name of the tensor in it."""
    kind, *rest = error.field or ("",)
    if kind != "inputs":
        return error
    if (path := renamed_row(error.field)) is not None:
        return InvalidInput(error.message, path)
    name = next((name for name in request.inputs if name != STATE), "")
    return InvalidInput(error.message, ("inputs", name, *(part for part in rest if part not in _JSON_NAMES)))
