"""Runs of one graph of a bundle on tensors that the caller made: ids, lengths, frames and states as the graph has them.

Whatever onnxruntime does not check is checked here: sizes of axes, ids outside of the vocabulary, lengths, numbers that
are not finite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Mapping

import numpy as np

from service.api.call import Call
from service.api.protocols.open_inference.served_models import ServedModel, task_tensors
from service.api.protocols.open_inference.tensors.messages import (
    DATATYPES,
    DTYPES,
    InferRequest,
    Tensor,
    numbers,
    shown,
)
from service.api.protocols.open_inference.tensors.tensor_data import require_few_bytes, require_short_json
from service.bundle.hidden_output import ON_REQUEST, without_hidden
from service.bundle.manifest import GraphSpec, TensorSpec
from service.bundle.padding import Array
from service.bundle.task_options import WaveformSpec, signal_of
from service.errors import InvalidInput, UnrollError
from service.inference.scheduling.batching.queued_request import Output, timings_of
from service.inference.scheduling.graph_queues import axis_sizes, batch_of, num_rows_of

_TIME_AXIS = "time"


async def run_graph(call: Call, served: ServedModel, request: InferRequest, deadline_s: float) -> list[Tensor]:
    """All outputs of a graph; the hidden state only if it is asked for.

    Raises:
        InvalidInput: the inputs are not those of the graph, or there is too much of them.
        Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
    """
    started_s, engine = time.monotonic(), served.engine
    is_hidden = any(output.name in ON_REQUEST for output in request.outputs)
    spec = served.spec if is_hidden else without_hidden(served.spec)
    try:
        feeds = _feeds(served, request.inputs)
        _require_few(call, served, spec, request, feeds)
        queued_s = time.monotonic()
        work = engine.graphs.submit(served.graph, feeds, deadline_s, call.sharer, hidden=is_hidden)
        outputs = await call.unless_client_leaves(_awaited(work))
        ran_s = time.monotonic()
        batch = batch_of(spec, [output.value for output in outputs])
    except UnrollError:
        engine.statistics.fail(started_s)
        raise
    timings = timings_of(started_s, queued_s, ran_s, outputs)
    engine.statistics.succeed(timings, len(outputs))
    call.record.note_timings(timings)
    return [numbers(name, array) for name, array in batch.items()]


async def _awaited(work: Awaitable[list[Output]]) -> list[Output]:
    return await work


def matching_graph(served: ServedModel, request: InferRequest) -> str:
    """The graph whose inputs a request to the model itself has; empty if they may as well be those of the task."""
    given = request.inputs.keys()
    if given <= task_tensors(served.engine).input.names:
        return ""
    for graph, spec in served.manifest.graphs.items():
        if len(spec.inputs) == len(given) and all(_fits(tensor, request.inputs) for tensor in spec.inputs):
            return graph
    return ""


def _fits(spec: TensorSpec, inputs: Mapping[str, Tensor]) -> bool:
    return spec.name in inputs and inputs[spec.name].datatype == DATATYPES[spec.dtype]


def _feeds(served: ServedModel, inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    """The inputs as the graph takes them. Raises InvalidInput."""
    spec = served.spec
    names = [tensor.name for tensor in spec.inputs]
    if inputs.keys() != set(names):
        sent = ", ".join(name[:64] for name in inputs) or "none"
        raise InvalidInput(f"the inputs of {served.name} are {', '.join(names)}; it was sent {sent}", ("inputs",))
    try:
        feeds = {tensor.name: _array(tensor, inputs[tensor.name]) for tensor in spec.inputs}
    except InvalidInput as error:
        raise error.under("inputs") from error
    problem = served.engine.opened.runner.problem(served.graph, feeds)
    if problem is not None:
        raise InvalidInput(problem, ("inputs",))
    return feeds


def _array(spec: TensorSpec, tensor: Tensor) -> Array:
    """The array in the datatype of the graph: smaller ones are widened, and doubles rounded."""
    array, wanted = tensor.array, DTYPES[DATATYPES[spec.dtype]]
    is_rounded = (array.dtype.kind, wanted.kind) == ("f", "f")
    if array.dtype.kind == "b" or not (is_rounded or np.can_cast(array.dtype, wanted)):
        message = f"the datatype is {DATATYPES[spec.dtype]}, not {tensor.datatype}"
        raise InvalidInput(message, (spec.name, "datatype"))
    if array.ndim != len(spec.shape):
        axes = ", ".join(map(str, spec.shape))
        raise InvalidInput(f"the shape is [{axes}], not {shown(tensor.shape)}", (spec.name, "shape"))
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=wanted)
    if wanted.kind == "f" and not np.isfinite(converted).all():
        raise InvalidInput("a number is not finite, or too large for 32 bits", (spec.name,))
    return converted


def _require_few(
    call: Call, served: ServedModel, spec: GraphSpec, request: InferRequest, feeds: Mapping[str, Array]
) -> None:
    """Raises InvalidInput if there are more rows, steps or numbers of output than one request may have."""
    settings, limits = call.settings, served.manifest.limits
    sizes = axis_sizes(spec.inputs, feeds)
    num_rows, num_steps = num_rows_of(sizes), sizes.get(_TIME_AXIS, 1)
    if num_rows > settings.max_inputs_per_request:
        message = f"{num_rows} rows in one request, at most {settings.max_inputs_per_request} are allowed"
        raise InvalidInput(message, ("inputs",))
    samples_per_step = _samples_per_step(served)
    longest = limits.max_input_tokens * (samples_per_step or 1)
    if num_steps > longest:
        raise InvalidInput(f"axis {_TIME_AXIS!r} has size {num_steps}, this model takes at most {longest}", ("inputs",))
    most = settings.max_samples_per_request if samples_per_step else settings.max_tokens_per_request
    if num_rows * num_steps > most:
        raise InvalidInput(f"{num_rows * num_steps} steps in all rows, at most {most} are allowed", ("inputs",))
    elements = {tensor.name: _num_elements(tensor, sizes) for tensor in spec.outputs}
    for output, count in elements.items():
        if request.is_sent(output) and not request.wants_bytes(output):
            require_short_json(output, count)
    require_few_bytes(4 * sum(elements.values()))


def _samples_per_step(served: ServedModel) -> int:
    """Of a model that reads sound; 0 for every other."""
    options = served.manifest.options
    signal = signal_of(options)
    return signal.samples_per_step if isinstance(signal, WaveformSpec) else 0


def _num_elements(tensor: TensorSpec, sizes: Mapping[str, int]) -> int:
    return math.prod(axis if isinstance(axis, int) else sizes.get(axis, 1) for axis in tensor.shape)
