"""A network declares the inputs and outputs of its graphs; written graphs and torch functions match them."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import helper

from service.bundle.manifest import TensorSpec
from tests.training.menus import menu_networks
from training.evaluation.torch_runner import TorchRunner
from training.networks.network import Network
from training.onnx_graph.writers import network_graphs
from training.publish.verify_inputs import VerificationInputs, axes_of, shape_of

Signature = list[tuple[str, str, tuple[int | str, ...]]]

with torch.random.fork_rng():
    MENU = dict(menu_networks())


def written(tensors: list[onnx.ValueInfoProto]) -> Signature:
    """Names, dtypes and symbolic shapes of a model's tensors."""
    found = []
    for tensor in tensors:
        kind = tensor.type.tensor_type
        shape = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
        found.append((tensor.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape))
    return found


def signature(tensors: tuple[TensorSpec, ...]) -> Signature:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]


@pytest.mark.parametrize("name", MENU)
def test_written_graphs_have_the_declared_tensors(name: str) -> None:
    """Graphs have the declared tensors in order, with dtypes and axis names, and use every declared input."""
    declared, graphs = MENU[name].graphs(), network_graphs(MENU[name])
    assert graphs.keys() == declared.keys()
    for graph, builder in graphs.items():
        model = builder.model()
        for tensors, specs in (
            (model.graph.input, declared[graph].inputs),
            (model.graph.output, declared[graph].outputs),
        ):
            assert written(list(tensors)) == [(spec.name, spec.dtype, spec.shape) for spec in specs]
        read = {value for node in model.graph.node for value in node.input}
        assert read >= {spec.name for spec in declared[graph].inputs}


@pytest.mark.parametrize("name", MENU)
def test_torch_gives_the_declared_tensors(name: str) -> None:
    """Given the declared inputs, each graph's torch function returns the declared outputs, by name and shape."""
    network: Network = MENU[name]
    for graph, declared in network.graphs().items():
        limits = {spec.name: 5 for spec in declared.inputs if spec.dtype == "int64"}
        feeds = VerificationInputs(limits, values_per_step=network.values_per_step).feeds(
            declared.spec("graph.onnx"), batch=3, time=4, characters=2
        )
        outputs = TorchRunner(network).run(graph, feeds)
        axes = axes_of(declared.spec("graph.onnx"), feeds, network.values_per_step)
        assert {key: array.shape for key, array in outputs.items()} == {
            spec.name: shape_of(spec, axes) for spec in declared.outputs
        }


def test_a_state_comes_back_in_the_shape_that_it_goes_in() -> None:
    """Each stateful graph takes the tensors of `state_shapes` and returns them with the same shapes."""
    stateful = {name: network for name, network in MENU.items() if network.state_shapes}
    assert {"language-model-0", "translator-fed", "captioner-lstm", "frames-in-chunks-gru"} <= stateful.keys()
    for network in stateful.values():
        shapes = {name: (shape.layers, "batch", shape.width) for name, shape in network.state_shapes.items()}
        # The last graph that takes state: of a transducer the encoder, as the others have one of their own.
        *_, graph = [one for one in network.graphs().values() if shapes.keys() & {spec.name for spec in one.inputs}]
        assert {spec.name: spec.shape for spec in graph.inputs if spec.name in shapes} == shapes
        after = {spec.name.removeprefix("next_"): spec.shape for spec in graph.outputs}
        assert {name: after[name] for name in shapes} == shapes
