"""A foreign graph while it is rewritten: who makes and who reads a value, and nodes that are added."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.importing.graph.source import subgraphs

#: Operators with ONNX's recurrences in them: the sequence is input 0.
RECURRENT = ("LSTM", "GRU", "RNN")
#: Places of the inputs of these operators.
SEQUENCE_LENS, INITIAL_H, INITIAL_C = 4, 5, 6
#: Operators whose recurrence is a graph of its own. The state of a Scan comes first among its inputs and outputs; that
#: of a Loop after the number of iterations and the condition.
LOOPS = ("Scan", "Loop")
#: What looks at the shape of a value and not at its numbers.
SHAPE_READERS = frozenset({"Shape", "Size"})


class EditedGraph:
    """The top graph of a model, a copy. Constants are initializers; nodes are sorted only in `model`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self.graph = self._model.graph
        del self.graph.value_info[:]
        self._num_names = 0
        self._drop_initial_inputs()
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self._lift_constants()
        self._taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self._taken |= {value.name for value in self.graph.input}

    def copy(self) -> EditedGraph:
        """Another copy, so that one way of rewriting can be tried."""
        return EditedGraph(self.model())

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.graph.node)

    @property
    def recurrences(self) -> list[onnx.NodeProto]:
        """The recurrent nodes, in the order of the graph."""
        return [node for node in self.graph.node if node.op_type in RECURRENT]

    @property
    def stateful(self) -> list[onnx.NodeProto]:
        """The recurrent nodes and loops, in the order of the graph."""
        return [node for node in self.graph.node if node.op_type in (*RECURRENT, *LOOPS)]

    @property
    def inputs(self) -> list[str]:
        return [value.name for value in self.graph.input]

    @property
    def outputs(self) -> list[str]:
        return [value.name for value in self.graph.output]

    def producer(self, value: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return next((node for node in self.graph.node if value in node.output), None)

    def readers(self, value: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if value in _reads(node)]

    def constant(self, value: str) -> NDArray[Any] | None:
        """The numbers of a constant; None for a value that is computed."""
        return self._constants.get(value)

    def store(self, array: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.new_name("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), name))
        self._constants[name] = array
        return name

    def integers(self, *values: int) -> str:
        """A constant int64 of rank 1."""
        return self.store(np.array(values, dtype=np.int64))

    def integer(self, value: int) -> str:
        """A constant int64 of rank 0."""
        return self.store(np.array(value, dtype=np.int64))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A new node with one output; returns the output's name."""
        name = self.new_name(operator.lower())
        self.graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def new_name(self, hint: str) -> str:
        """A name that no value has."""
        while True:
            self._num_names += 1
            name = f"imported_{hint}_{self._num_names}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def redirect(self, value: str, to: str, but: Iterable[str] = ()) -> None:
        """Let every node, also inside of loops, and the outputs read `to` instead of `value`.

        `but` names the outputs of nodes that go on reading `value`: those that `to` is made by.
        """
        kept = set(but)
        for node in self.graph.node:
            if not kept & set(node.output):
                _rename(node, value, to)
        for output in self.graph.output:
            if output.name == value:
                output.name = to

    def rename_input(self, old: str, new: str) -> None:
        """Give an input of the graph another name."""
        for value in self.graph.input:
            if value.name == old:
                value.name = new
        for node in self.graph.node:
            _rename(node, old, new)

    def clear_name(self, name: str) -> str:
        """Let a value inside of the graph give way to an input or output of its name; returns the value's new name."""
        inner = self.new_name("inner")
        for node in self.graph.node:
            for index, made in enumerate(node.output):
                if made == name:
                    node.output[index] = inner
        for tensor in self.graph.initializer:
            if tensor.name == name:
                tensor.name = inner
                self._constants[inner] = self._constants.pop(name)
        self.redirect(name, inner)
        return inner

    def declare_output(self, value: str) -> None:
        """Make a value an output, of a type that the runtime infers."""
        self.graph.output.append(onnx.ValueInfoProto(name=value))

    def reached_from(self, values: Iterable[str], enters: Callable[[onnx.NodeProto, str], bool]) -> set[str]:
        """All values that depend on `values`, along the inputs of nodes that `enters` lets pass."""
        reached = set(values)
        for node in self._sorted():
            if any(name in reached and enters(node, name) for name in _reads(node)):
                reached |= set(node.output)
        return reached - {""}

    def depends_on(self, value: str) -> set[str]:
        """The graph's inputs whose numbers, and not only sizes, a value is computed from."""
        producers = {name: node for node in self.graph.node for name in node.output}
        seen, open_values = set[str](), [value]
        while open_values:
            name = open_values.pop()
            if name in seen:
                continue
            seen.add(name)
            node = producers.get(name)
            if node is not None and node.op_type not in SHAPE_READERS:
                open_values += _reads(node)
        return seen & set(self.inputs)

    def model(self) -> onnx.ModelProto:
        """The model as it stands: without nodes and constants that no output needs, its nodes in order."""
        nodes = self._sorted()
        needed, kept = set(self.outputs), []
        for node in reversed(nodes):
            if needed & set(node.output):
                needed |= set(_reads(node))
                kept.append(node)
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(reversed(kept))
        model.graph.initializer.extend(tensor for tensor in self.graph.initializer if tensor.name in needed)
        return model

    def fold(self, values: dict[str, NDArray[Any]]) -> None:
        """Replace values that do not depend on any input by constants."""
        for node in self.nodes:
            if node.output and all(name in values for name in node.output if name):
                self.graph.node.remove(node)
        for name, array in values.items():
            self.graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), name))
            self._constants[name] = array

    def _drop_initial_inputs(self) -> None:
        """Old files list constants among the inputs, as defaults."""
        stored = {tensor.name for tensor in self.graph.initializer}
        kept = [value for value in self.graph.input if value.name not in stored]
        del self.graph.input[:]
        self.graph.input.extend(kept)

    def _lift_constants(self) -> None:
        for node in [each for each in self.graph.node if each.op_type == "Constant"]:
            array = _value_of(node)
            if array is not None:
                self.fold({node.output[0]: array})

    def _sorted(self) -> list[onnx.NodeProto]:
        producers = {name: index for index, node in enumerate(self.graph.node) for name in node.output if name}
        before = {
            index: sorted({producers[name] for name in _reads(node) if name in producers})
            for index, node in enumerate(self.graph.node)
        }
        return [self.graph.node[index] for index in TopologicalSorter(before).static_order()]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node; strings as text."""
    found = next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
    return found.decode() if isinstance(found, bytes) else found


def state_places(node: onnx.NodeProto) -> tuple[int, ...]:
    """The places of the inputs of a node that are its initial state."""
    match node.op_type:
        case "LSTM":
            return INITIAL_H, INITIAL_C
        case "GRU" | "RNN":
            return (INITIAL_H,)
        case "Scan":
            return tuple(range(len(node.input) - attribute(node, "num_scan_inputs", 0)))
        case "Loop":
            return tuple(range(2, len(node.input)))
    return ()


def name_stateful(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose recurrent nodes and loops have names of their own, by which they are found after rewriting."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = set[str]()
    for number, node in enumerate(copy.graph.node):
        if node.op_type in (*RECURRENT, *LOOPS):
            if not node.name or node.name in known:
                node.name = f"{node.op_type}_{number}"
            known.add(node.name)
    return copy


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set or replace an attribute of a node."""
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def slot(node: onnx.NodeProto, place: int) -> str:
    """An optional input of a node; "" where it has none."""
    return node.input[place] if place < len(node.input) else ""


def fill_slot(node: onnx.NodeProto, place: int, value: str) -> None:
    """Set an optional input of a node."""
    node.input.extend([""] * (place + 1 - len(node.input)))
    node.input[place] = value


def _value_of(node: onnx.NodeProto) -> NDArray[Any] | None:
    """The numbers of a Constant node, in any of its forms but text and sparse tensors."""
    dtypes = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    for each in node.attribute:
        if each.name == "value":
            return numpy_helper.to_array(each.t)
        if each.name in dtypes:
            return np.array(helper.get_attribute_value(each), dtype=dtypes[each.name])
    return None


def _reads(node: onnx.NodeProto) -> list[str]:
    """The values that a node reads, those inside its subgraphs too."""
    inner = [graph for each in node.attribute for graph in subgraphs(each)]
    return [*filter(None, node.input), *(name for graph in inner for name in _reads_of(graph))]


def _reads_of(graph: onnx.GraphProto) -> set[str]:
    made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    made |= {name for node in graph.node for name in node.output}
    read = {name for node in graph.node for name in _reads(node)} | {value.name for value in graph.output}
    return read - made


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
    for each in node.attribute:
        for graph in subgraphs(each):
            if old in _reads_of(graph):
                for inner in graph.node:
                    _rename(inner, old, new)
                for output in graph.output:
                    if output.name == old:
                        output.name = new
