"""The base class of all networks: a loss to train on, and the graphs that a bundle is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from service.bundle.manifest import GraphSpec, TensorSpec
from training.config.networks import CellOrNone
from training.networks.layers.cells import State, state_names

#: Tensors by the names of a graph's inputs or outputs.
Tensors = dict[str, Tensor]
GraphFunction = Callable[[Tensors], Tensors]


class StateShape(NamedTuple):
    """One tensor of recurrent state: `[layers, batch, width]`."""

    layers: int
    width: int


def recurrent_state(cell: CellOrNone, layers: int, width: int) -> dict[str, StateShape]:
    """The state of a stack of layers, by name; none without a recurrence."""
    return dict.fromkeys(state_names(cell), StateShape(layers, width))


class NetworkGraph(NamedTuple):
    """One graph of a network: the function it computes in torch, and its inputs and outputs in order."""

    function: GraphFunction
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def spec(self, file: str) -> GraphSpec:
        """The graph as a manifest lists it."""
        return GraphSpec(file=file, inputs=self.inputs, outputs=self.outputs)


class Network(nn.Module):
    """A torch module with a training loss, the graphs it is exported as, and the recurrent state of these graphs."""

    #: The modules that read the input, up to the last recurrent layer: what fine-tuning may keep as it is.
    reading_modules: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def loss(self, batch: Any, carried: State = ()) -> tuple[Tensor, State]:
        """Mean loss of a batch in nats, and the state to carry into the next batch, if any."""

    @abstractmethod
    def graphs(self) -> dict[str, NetworkGraph]:
        """The graphs that the service runs, by name: torch function, inputs and outputs of each."""

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        """The tensors of recurrent state by name, in order; none by default."""
        return {}

    @property
    def values_per_step(self) -> int:
        """Steps of the input for each step of the output."""
        return 1

    def transitions(self) -> Tensor | None:
        """Transition scores of a CRF, `[labels + 1, labels + 1]`; None without one."""
        return None

    def state_of(self, feeds: Tensors) -> State:
        """The recurrent state, taken from the inputs of a graph."""
        return tuple(feeds[name].contiguous() for name in self.state_shapes)

    def next_state(self, state: State) -> Tensors:
        """The recurrent state, by the names of a graph's outputs."""
        return {next_name(name): part for name, part in zip(self.state_shapes, state, strict=True)}

    def state_inputs(self) -> list[TensorSpec]:
        """The recurrent state as inputs of a graph."""
        return [_state_tensor(name, shape) for name, shape in self.state_shapes.items()]

    def state_outputs(self) -> list[TensorSpec]:
        """The next recurrent state as outputs of a graph."""
        return [_state_tensor(next_name(name), shape) for name, shape in self.state_shapes.items()]


def next_name(name: str) -> str:
    """The name of the output with the next value of the state `name`."""
    return f"next_{name}"


def int64(name: str, *shape: int | str) -> TensorSpec:
    """An int64 input or output, as ids and lengths are. Dimensions are sizes or axis names such as "batch"."""
    return TensorSpec(name=name, dtype="int64", shape=shape)


def float32(name: str, *shape: int | str) -> TensorSpec:
    """A float32 input or output, like `int64`."""
    return TensorSpec(name=name, dtype="float32", shape=shape)


def uint8(name: str, *shape: int | str) -> TensorSpec:
    """A uint8 input or output, like `int64`."""
    return TensorSpec(name=name, dtype="uint8", shape=shape)


def _state_tensor(name: str, shape: StateShape) -> TensorSpec:
    return float32(name, shape.layers, "batch", shape.width)
