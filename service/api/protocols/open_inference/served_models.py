"""What answers under a name of the protocol: the task of a model, or one of its graphs as `MODEL.GRAPH`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from service.api.call import Call, TaskEngine
from service.api.protocols.open_inference.tensors.messages import BYTES, DATATYPES, Signature, TensorMetadata
from service.api.protocols.open_inference.tensors.named_arrays import ArrayInputs, ArrayOutputs
from service.api.protocols.open_inference.tensors.task_inputs import TaskInput, task_input
from service.api.protocols.open_inference.tensors.task_outputs import (
    GenerationOutputs,
    TaskOutputs,
    Writer,
    task_outputs,
)
from service.bundle.hidden_output import EMBEDDING, embedding_size
from service.bundle.manifest import ROW_AXES, GraphSpec, Manifest, TensorSpec
from service.bundle.task_options import TensorsOptions
from service.errors import NotReady, UnknownModel
from service.inference.engines.engine import Engine
from service.inference.engines.generation_engine import GenerationEngine

PLATFORM = "onnxruntime_onnx"
#: The state to continue from, and the next one, as a token: only on request, see `inference`.
STATE = "state"

_CONFIG_TYPES = {BYTES: "TYPE_STRING"}


class TaskTensors(NamedTuple):
    """How the task of one bundle reads and writes tensors."""

    input: TaskInput
    signature: Signature
    labels: Mapping[str, Sequence[str]]
    writers: Mapping[str, Writer]
    keeps_state: bool
    default_outputs: Sequence[str]
    output_names: Sequence[str]


class ServedModel(NamedTuple):
    """What answers under a name. `graph` is empty for the task itself."""

    name: str
    engine: TaskEngine
    graph: str = ""

    @property
    def manifest(self) -> Manifest:
        """That of the bundle."""
        return self.engine.opened.bundle.manifest

    @property
    def spec(self) -> GraphSpec:
        """Of the graph."""
        return self.manifest.graphs[self.graph]

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return graph_signature(self.spec) if self.graph else task_tensors(self.engine).signature

    def of_graph(self, graph: str) -> ServedModel:
        """The same model as one of its graphs."""
        return self._replace(graph=graph)


def find_model(call: Call, name: str, version: str | None) -> ServedModel:
    """What answers under a name; the record of the call then says which model it is.

    Raises:
        UnknownModel: there is no such model, version or graph.
        NotReady: the bundle is not ready.
    """
    if "." not in name:
        return ServedModel(name, call.any_engine(name, version))
    model, graph = split_name(call, name)
    return _served(name, call.any_engine(model, version), graph)


def describe_model(call: Call, name: str, version: str | None) -> ServedModel:
    """The same for a request that runs nothing. Raises UnknownModel, NotReady."""
    model, graph = split_name(call, name)
    entry = call.registry.entry(model, version)
    if entry.state == "idle":  # it is opened
        return find_model(call, name, version)
    if not isinstance(entry.engine, TaskEngine) or entry.obstacle:
        raise NotReady(f"{model} version {entry.version} is not ready", [entry.obstacle], entry.cause)
    return _served(name, entry.engine, graph)


def _served(name: str, engine: TaskEngine, graph: str) -> ServedModel:
    graphs = engine.opened.bundle.manifest.graphs
    if graph and graph not in graphs:
        model = engine.opened.bundle.manifest.name
        there_are = [f"{model}.{other}" for other in graphs]
        raise UnknownModel(f"{model} has no graph {graph[:64]!r}; there are: {', '.join(there_are)}", there_are)
    return ServedModel(name, engine, graph)


def split_name(call: Call, name: str) -> tuple[str, str]:
    """The model and the graph that a name stands for; the graph is empty for a model. Raises UnknownModel."""
    try:
        call.registry.entry(name)
    except UnknownModel:
        model, _, graph = name.rpartition(".")
        if not model or not any(entry.name == model for entry in call.registry.entries):
            raise
        return model, graph
    return name, ""


_TENSORS: WeakKeyDictionary[Engine, TaskTensors] = WeakKeyDictionary()


def task_tensors(engine: TaskEngine) -> TaskTensors:
    """How the task of an engine reads and writes tensors; made once for each engine."""
    found = _TENSORS.get(engine)
    if found is None:
        _TENSORS[engine] = found = _task_tensors(engine)
    return found


def _task_tensors(engine: TaskEngine) -> TaskTensors:
    manifest = engine.opened.bundle.manifest
    reader, outputs = _sides(engine, manifest)
    keeps_state = isinstance(engine, GenerationEngine) or manifest.reads_chunks
    defaults = [tensor.name for tensor in outputs.metadata]
    hidden = [EMBEDDING] if embedding_size(manifest) is not None else []
    names = [*(outputs.writers or defaults), *hidden, *([STATE] if keeps_state else [])]
    signature = Signature(reader.metadata, outputs.metadata)
    return TaskTensors(reader, signature, outputs.labels, outputs.writers, keeps_state, defaults, names)


def _sides(engine: TaskEngine, manifest: Manifest) -> tuple[TaskInput, TaskOutputs]:
    """What a task reads, and what it gives."""
    if isinstance(manifest.options, TensorsOptions):
        return ArrayInputs(manifest), ArrayOutputs(manifest)
    outputs: TaskOutputs = GenerationOutputs() if isinstance(engine, GenerationEngine) else task_outputs(manifest)
    return task_input(manifest), outputs


def graph_signature(spec: GraphSpec) -> Signature:
    """The tensors of a graph."""
    return Signature([_metadata(tensor) for tensor in spec.inputs], [_metadata(tensor) for tensor in spec.outputs])


def _metadata(tensor: TensorSpec) -> TensorMetadata:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return TensorMetadata(tensor.name, DATATYPES[tensor.dtype], shape)


def model_metadata(served: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """The answer to a request for metadata."""
    inputs, outputs = served.signature
    return {
        "name": served.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [tensor._asdict() for tensor in inputs],
        "outputs": [tensor._asdict() for tensor in outputs],
    }


def model_config(served: ServedModel, max_rows: int) -> dict[str, Any]:
    """The answer to a request for the configuration, in the terms of Triton.

    Shapes are without the axis of the batch where that is the first of every tensor.
    """
    signature, manifest = served.signature, served.manifest
    is_batched = not served.graph or all(
        tensor.shape[0] in ROW_AXES for tensor in (*served.spec.inputs, *served.spec.outputs)
    )
    parameters = {"task": manifest.task, "version": manifest.version}
    if not served.graph:
        parameters["graphs"] = ",".join(f"{served.name}.{graph}" for graph in manifest.graphs)
    if manifest.labels:
        parameters["labels"] = ",".join(manifest.labels)
    config: dict[str, Any] = {
        "name": served.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_rows if is_batched else 0,
        "input": [_config_tensor(tensor, is_batched) for tensor in signature.inputs],
        "output": [_config_tensor(tensor, is_batched) for tensor in signature.outputs],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }
    if is_batched:
        config["dynamic_batching"] = {}
    return config


def _config_tensor(tensor: TensorMetadata, is_batched: bool) -> dict[str, Any]:
    kind = _CONFIG_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    return {"name": tensor.name, "data_type": kind, "dims": list(tensor.shape[1:] if is_batched else tensor.shape)}
