"""int8 graphs are close to the fp32 graphs for each cell, and unsupported ones are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.inference.runtime.ort_runner import session_options
from tests.training.exportable import CELLS, language_model, tagger, translator
from training.config.networks import Cell
from training.onnx_graph.weights import round_to_half
from training.onnx_graph.writers import network_graphs
from training.publish.int8 import depends_on_batch, int8_graph
from training.publish.int8_cells import quantise_columns

BATCH, TIME = 3, 5


def model_of(network: Any, graph: str, half: bool = True) -> onnx.ModelProto:
    return network_graphs(round_to_half(network), half)[graph].model()


def answers(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def feeds_of(model: onnx.ModelProto) -> dict[str, Any]:
    """Ids from 1 to 5, states and memories in -1 to 1, every row of full length."""
    random = np.random.default_rng(3)
    feeds: dict[str, Any] = {}
    for tensor in model.graph.input:
        axes = {"batch": BATCH, "time": TIME, "chars": 4}
        shape = [
            axes[axis.dim_param] if axis.dim_param else axis.dim_value for axis in tensor.type.tensor_type.shape.dim
        ]
        is_float = tensor.type.tensor_type.elem_type == TensorProto.FLOAT
        feeds[tensor.name] = (
            random.uniform(-1, 1, shape).astype(np.float32) if is_float else random.integers(1, 6, shape)
        )
    return feeds | ({"lengths": np.full(BATCH, TIME)} if "lengths" in feeds else {})


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_every_cell_is_written_out(cell: Cell) -> None:
    """The recurrent operator is replaced, and outputs are close to the originals but not equal."""
    model = model_of(language_model(cell), "step")
    quantised = int8_graph(model, is_step=True)
    assert not operators(quantised) & {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
    assert not depends_on_batch(quantised)
    feeds = feeds_of(model)
    for expected, found in zip(answers(model, feeds), answers(quantised, feeds), strict=True):
        assert 0.0 < np.abs(expected - found).max() < 0.08


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_a_decoder_step_with_attention_stays_close(cell: Cell, attention: str) -> None:
    """The attention context is bounded by the memory's rows, so its product is quantised, and outputs stay close."""
    model = model_of(translator(cell, attention), "decoder_step")
    quantised = int8_graph(model, is_step=True)
    assert not operators(quantised) & {"LSTM", "GRU", "RNN"}
    feeds = feeds_of(model)
    for expected, found in zip(answers(model, feeds), answers(quantised, feeds), strict=True):
        assert np.abs(expected - found).max() < 0.15


def test_a_whole_lstm_becomes_onnxruntime_s_quantised_one() -> None:
    model = model_of(tagger("lstm"), "tagger")
    quantised = int8_graph(model, is_step=False)
    assert "DynamicQuantizeLSTM" in operators(quantised)
    assert "LSTM" not in operators(quantised)
    assert depends_on_batch(quantised)
    for expected, found in zip(answers(model, feeds_of(model)), answers(quantised, feeds_of(model)), strict=True):
        assert 0.0 < np.abs(expected - found).max() < 0.15


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_whole_sequences_of_other_cells_are_refused(cell: Cell) -> None:
    """Sequence graphs of other cells are refused, as onnxruntime has no quantised operator for them."""
    with pytest.raises(ValueError, match=r"'tagger' has no recurrence that can run in int8: .* no GRU or Elman"):
        int8_graph(model_of(tagger(cell), "tagger"), is_step=False)


def test_a_step_that_resets_before_its_product_is_refused() -> None:
    """A step of a GRU that resets before its product is refused, as the rewritten cell is torch's GRU."""
    with pytest.raises(ValueError, match="the GRU that resets before its recurrent product"):
        int8_graph(model_of(language_model("gru_before"), "step"), is_step=True)


@pytest.mark.parametrize("half", [True, False])
def test_weights_take_one_byte(half: bool) -> None:
    """Weights take one byte, from half or single precision and with or without a Cast, and are stored once."""
    network = language_model("lstm")
    quantised = int8_graph(model_of(network, "step", half), is_step=True)
    stored = {tensor.data_type: 0 for tensor in quantised.graph.initializer}
    for tensor in quantised.graph.initializer:
        stored[tensor.data_type] += numpy_helper.to_array(tensor).size
    weights = sum(p.numel() for name, p in network.named_parameters() if "weight" in name and "embedding" not in name)
    assert stored[TensorProto.INT8] == weights


def test_a_step_without_a_bound_is_left_alone() -> None:
    """A ReLU step is left unquantised, as its state has no bound and so no fixed scale."""
    model = model_of(language_model("rnn"), "step")
    for node in model.graph.node:
        if node.op_type == "RNN":
            node.attribute.append(helper.make_attribute("activations", ["Relu"]))
    with pytest.raises(ValueError, match="no recurrence that can run in int8"):
        int8_graph(model, is_step=True)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_quantised_columns_are_within_half_a_level(seed: int, scale: float, rows: int, columns: int) -> None:
    """Each column has its own scale, so errors are within half a level of it; a zero column stays zero."""
    weight = np.random.default_rng(seed).normal(0.0, scale, (rows, columns)).astype(np.float32)
    weight[:, 0] *= 1000.0
    weight[:, -1] *= 0.0
    integers, scales = quantise_columns(weight)
    assert integers.dtype == np.int8
    assert (np.abs(integers * scales - weight) <= 0.5001 * scales).all()
    assert (integers[:, -1] == 0).all()
