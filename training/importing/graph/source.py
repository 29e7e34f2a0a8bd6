"""Reads a foreign ONNX file within bounds. No code of the file runs: operators are those of ONNX itself.

Refused: files and graphs beyond a size or depth, operators of other domains, weights outside of the file's folder, and
what ONNX's checker refuses. Older operator sets are converted, functions of the model are inlined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, external_data_helper, inliner, version_converter

from service.errors import UnrollError

#: Largest file with its external weights; protobuf itself reads no message beyond 2 GiB.
MAX_BYTES = 2**31 - 1
#: Nodes of a graph and its subgraphs. An unrolled loop of 500 steps has some ten thousand.
MAX_NODES = 20_000
#: Graphs inside nodes inside graphs, such as the body of a loop.
MAX_DEPTH = 4
#: The oldest operator set in which axes are inputs, as the nodes that are added have them.
OLDEST_OPSET = 13
#: What older models are converted to.
_TARGET_OPSET = 18
_ONNX_DOMAINS = ("", "ai.onnx")


class ImportRefused(UnrollError):
    """A model cannot be imported; the message says why, where, and what is possible."""


def read_onnx(file: Path) -> onnx.ModelProto:
    """The model of a file, with all weights inside, in an operator set of at least 13.

    Raises:
        ImportRefused: it is no model that can be imported.
        OSError: it cannot be read.
    """
    _require_size(file)
    try:
        model = onnx.load_model_from_string(file.read_bytes())
    except (DecodeError, ValueError, UnicodeDecodeError) as error:
        raise ImportRefused(f"{file} is not an ONNX file") from error
    _load_weights(model, file)
    return checked(model, str(file))


def checked(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A model within the bounds, valid, and in an operator set that can be rewritten. Raises ImportRefused."""
    _require_bounds(model, where)
    if not all(isinstance(name, str) for name in _names(model)):  # protobuf gives bytes where they are no UTF-8
        raise ImportRefused(f"{where} has a name that is no text in UTF-8")
    _require_known_operators(model, where)
    try:
        onnx.checker.check_model(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
            _require_bounds(model, where)
        if _opset(model) < OLDEST_OPSET:
            model = version_converter.convert_version(model, _TARGET_OPSET)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ImportRefused(f"{where} is not a valid ONNX model: {_first_line(error)}") from error
    return model


def _require_size(file: Path) -> None:
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    if file.stat().st_size > MAX_BYTES:
        raise ImportRefused(f"{file} is larger than {MAX_BYTES:,} bytes")


def _load_weights(model: onnx.ModelProto, file: Path) -> None:
    """Read weights that lie in further files of the same folder."""
    folder = file.resolve().parent
    outside = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    if file.stat().st_size + sum(_outside_bytes(tensor, folder) for tensor in outside) > MAX_BYTES:
        raise ImportRefused(f"{file} with its weights is larger than {MAX_BYTES:,} bytes")
    for tensor in outside:
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (onnx.checker.ValidationError, ValueError) as error:
            raise ImportRefused(f"the weight {tensor.name!r} cannot be read: {_first_line(error)}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _outside_bytes(tensor: onnx.TensorProto, folder: Path) -> int:
    """What reading a weight from its file takes. A place that several weights name is read for each of them."""
    try:
        info: Any = external_data_helper.ExternalDataInfo(tensor)  # without types: a place that is not named is None
    except ValueError as error:
        raise ImportRefused(f"the weight {tensor.name!r} cannot be read: {_first_line(error)}") from error
    size = _weights_path(tensor.name, info.location, folder).stat().st_size - (info.offset or 0)
    return max(0, size if info.length is None else min(size, info.length))


def _weights_path(name: str, location: str, folder: Path) -> Path:
    path = (folder / location).resolve()
    if not path.is_relative_to(folder):
        raise ImportRefused(f"the weight {name!r} lies in {location!r}, outside of the folder of the model")
    if not path.is_file():
        raise ImportRefused(f"the weight {name!r} lies in {location!r}, which is missing beside the model")
    return path


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor of a graph and its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for inner in subgraphs(attribute):
                yield from _tensors(inner)


def subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs of one attribute of a node."""
    return [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)


def _require_bounds(model: onnx.ModelProto, where: str) -> None:
    count = _count(model.graph.node, where, 0)
    count += sum(_count(function.node, where, 0) for function in model.functions)
    if count > MAX_NODES:
        raise ImportRefused(f"{where} has {count:,} nodes; at most {MAX_NODES:,} are read")


def _count(nodes: Iterable[onnx.NodeProto], where: str, depth: int) -> int:
    """The nodes with those inside of them."""
    if depth > MAX_DEPTH:
        raise ImportRefused(f"{where} has graphs within graphs, more than {MAX_DEPTH} deep")
    count = 0
    for node in nodes:
        inner = [graph for attribute in node.attribute for graph in subgraphs(attribute)]
        count += 1 + sum(_count(graph.node, where, depth + 1) for graph in inner)
    return count


def _names(model: onnx.ModelProto) -> Iterator[object]:
    """Every name of a model: of nodes, operators, domains, values, constants and axes."""
    yield from (model.producer_name, model.producer_version, *(each.domain for each in model.opset_import))
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        yield from _names_of_nodes(function.node)
    yield from _names_of_graph(model.graph)


def _names_of_graph(graph: onnx.GraphProto) -> Iterator[object]:
    yield from (tensor.name for tensor in graph.initializer)
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    yield from _names_of_nodes(graph.node)


def _names_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for inner in subgraphs(attribute):
                yield from _names_of_graph(inner)


def _require_known_operators(model: onnx.ModelProto, where: str) -> None:
    own = {function.domain for function in model.functions}
    foreign = sorted({name for name in _domains(model.graph) if name not in (*_ONNX_DOMAINS, *own)})
    if foreign:
        raise ImportRefused(
            f"{where} needs operators of {', '.join(foreign)}: export it with the operators of ONNX alone"
        )


def _domains(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                yield from _domains(inner)


def _opset(model: onnx.ModelProto) -> int:
    return max((each.version for each in model.opset_import if each.domain in _ONNX_DOMAINS), default=0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
