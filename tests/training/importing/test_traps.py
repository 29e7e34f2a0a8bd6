"""Known traps of foreign models are mended, or named in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from service.bundle.manifest import LENGTHS, MAX_NAME_CHARACTERS, RESERVED_NAMES
from tests.training.importing.foreign_models import MODELS, Recurrent, by_step, features, of_one_size
from tests.training.importing.hand_made import (
    FEATURES,
    GraphText,
    batch_first_lstm,
    by_other_operators,
    mixing_rows,
    of_tensorflow,
    plain_lstm,
)
from training.importing.graph.edited_graph import EditedGraph
from training.importing.graph.source import MAX_DEPTH, ImportRefused, read_onnx
from training.importing.import_model import open_file, parse_axes
from training.importing.proof import RewrittenRunner
from training.importing.understanding import ranges_of_ids, understand


def test_a_recurrence_with_the_batch_first_is_turned() -> None:
    """`layout = 1`, which onnxruntime does not run, gives what ONNX's own evaluator computes, and says so."""
    model = batch_first_lstm()
    found = understand(model)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 5, FEATURES)).astype(np.float32)
    feeds = {"x": x, LENGTHS: np.array([5, 5, 5])}
    zeros = {part.name: np.zeros((1, 3, part.width), np.float32) for part in found.draft.state}
    outputs = RewrittenRunner(found.draft.model).run("model", {**feeds, **zeros})
    y, z = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(outputs["y"], y, atol=1e-5)
    np.testing.assert_allclose(outputs["z"], z, atol=1e-5)
    assert any("layout = 1" in sentence for sentence in found.mended)


def test_a_gru_that_resets_before_the_product_is_named() -> None:
    found = understand(of_tensorflow())
    assert any("linear_before_reset = 0" in sentence and "CPUs alone" in sentence for sentence in found.missing)


def test_names_and_types_of_tensorflow_become_plain() -> None:
    """Ids that are declared as floats stay floats with their range; names lose their scope and number."""
    draft = understand(of_tensorflow()).draft
    assert [(edge.spec.name, edge.source) for edge in draft.edges.inputs] == [("tokens", "tokens:0")]
    assert [edge.spec.name for edge in draft.edges.outputs] == ["dense_1_Softmax"]
    assert ranges_of_ids(draft) == {"tokens": (0.0, 8.0)}


def test_lengths_that_are_the_whole_give_way_to_true_ones() -> None:
    """A sequence_lens that an exporter filled with the size of the batch does not hold rows together."""
    found = understand(of_tensorflow("LSTM"))
    assert found.draft.has_lengths
    assert found.draft.state


def test_a_model_that_finds_its_padding_by_id_0_keeps_doing_so() -> None:
    """Lengths that are computed from ids work in mixed batches, as padding is 0."""
    found = understand(of_tensorflow("LSTM", full_lengths=False))
    assert found.draft.has_lengths


def test_rows_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(ImportRefused, match="other rows of its batch"):
        understand(mixing_rows())


def test_ids_are_bounded_by_the_embedding() -> None:
    """An id of -1 would read the last row of an embedding, and one beyond it fail a whole batch."""
    from training.importing.record import BundleFacts, arrays_manifest

    draft = understand(MODELS["ids to the mean"]().file()).draft
    note = arrays_manifest(draft, BundleFacts("mine", "mine.onnx")).options.notes["x"]  # type: ignore[union-attr]
    assert (note.minimum, note.maximum) == (0, 10)


def test_an_unrolled_loop_keeps_its_number_of_steps() -> None:
    """A step in the middle that is taken by its number binds the graph to the steps of its export."""
    graph = GraphText()
    steps = []
    for step in range(4):
        graph.node("Gather", ["x", graph.constant(f"step{step}", np.array(step))], [f"x{step}"], axis=1)
        graph.node("MatMul", [f"x{step}", graph.weight(f"w{step}", FEATURES, 2)], [f"y{step}"])
        graph.node("Unsqueeze", [f"y{step}", graph.constant(f"axis{step}", np.array([1]))], [f"z{step}"])
        steps.append(f"z{step}")
    graph.node("Concat", steps, ["y"], axis=1)
    found = understand(graph.model({"x": (TensorProto.FLOAT, ["n", 4, FEATURES])}, {"y": ["n", 4, 2]}))
    assert found.draft.foreign.fixed_steps == 4
    assert [edge.spec.shape for edge in found.draft.edges.inputs] == [("batch", 4, FEATURES)]
    assert any(sentence.startswith("the number of steps is fixed: 4 (") for sentence in found.missing)


def test_a_mean_over_a_written_number_keeps_its_steps() -> None:
    """A sum that was divided by the four steps of its export would be no mean of five: the steps stay four."""

    class Mean(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.rnn(x)[0].sum(dim=1) / x.shape[1])

    found = understand(of_one_size(Mean("gru"), features()).file())
    assert found.draft.foreign.fixed_steps == 4
    assert any("divides by 4" in sentence for sentence in found.missing)


def test_an_old_operator_set_is_converted() -> None:
    graph = GraphText()
    graph.node("Transpose", ["x"], ["sequence"], perm=[1, 0, 2])
    graph.recurrence("GRU", "sequence", ["outputs"], linear_before_reset=1)
    graph.node("Squeeze", ["outputs"], ["squeezed"], axes=[1])
    graph.node("Transpose", ["squeezed"], ["y"], perm=[1, 0, 2])
    model = graph.model({"x": (TensorProto.FLOAT, ["n", "t", FEATURES])}, {"y": ["n", "t", 4]}, opset=11)
    assert understand(_through_file(model)).draft.state


def test_weights_in_double_precision_are_refused() -> None:
    model = by_step(Recurrent("lstm").double())
    model.inputs["x"] = model.inputs["x"].double()
    with pytest.raises(ImportRefused, match=r"float64.*float32"):
        understand(model.file())


def _through_file(model: onnx.ModelProto) -> onnx.ModelProto:
    from training.importing.graph.source import checked

    return checked(model, "model.onnx")


def _written(folder: Path, model: onnx.ModelProto) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"operators of com\.microsoft"):
        read_onnx(_written(tmp_path, by_other_operators("com.microsoft")))


def test_weights_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A location that leads out of the model's folder is not read, by a path or by a link."""
    (tmp_path / "secret").write_bytes(bytes(4096))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    for location in ("../secret", str(tmp_path / "secret"), "link"):
        model = plain_lstm()
        tensor = model.graph.initializer[0]
        size = len(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=size)
        tensor.ClearField("raw_data")
        with pytest.raises(ImportRefused, match="outside of the folder"):
            read_onnx(_written(folder, model))


@pytest.mark.parametrize("wrong", [("offset", "x"), ("length", "-5"), ("offset", "1000000")])
def test_places_of_weights_that_are_none_are_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    """A place in the weights' file that is no number, negative or beyond its end is one sentence with the weight."""
    (tmp_path / "weights").write_bytes(bytes(4096))
    model = plain_lstm()
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights")
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = wrong
    with pytest.raises(ImportRefused, match=f"the weight '{tensor.name}' cannot be read"):
        read_onnx(_written(tmp_path, model))


def test_weights_that_share_a_place_count_each(tmp_path: Path) -> None:
    """A small file that is named by many weights takes as much memory as they have together."""
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(2**29)
    model = plain_lstm()
    for number in range(4):
        tensor = model.graph.initializer.add(name=f"more{number}", dims=[2**27], data_type=TensorProto.FLOAT)
        tensor.raw_data = b"\0"
        onnx.external_data_helper.set_external_data(tensor, "weights")
        tensor.ClearField("raw_data")
    with pytest.raises(ImportRefused, match="with its weights is larger than"):
        read_onnx(_written(tmp_path, model))


def test_an_input_beyond_all_memory_is_refused() -> None:
    model = plain_lstm()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40
    with pytest.raises(ImportRefused, match=r"the input 'x' is .*; at most 268,435,456 numbers"):
        understand(model)


@pytest.mark.parametrize("name", ["state", "embedding", "hidden_states", "a/scope/" + 80 * "x"])
def test_names_that_requests_cannot_have_give_way(name: str) -> None:
    """An input or output whose name means something else in requests, or is too long, is called otherwise."""
    model = plain_lstm()
    edited = EditedGraph(model)
    edited.rename_input("x", name)
    edited.redirect("x", name)
    draft = understand(edited.model()).draft
    (given,) = [edge.spec.name for edge in draft.edges.inputs if edge.source == name]
    assert given not in RESERVED_NAMES
    assert 0 < len(given) <= MAX_NAME_CHARACTERS


def test_axes_of_an_input_that_is_not_there_are_refused() -> None:
    with pytest.raises(ImportRefused, match="--axes names 'y', which is no input; there are x"):
        understand(plain_lstm(), parse_axes(["y=batch,time,5"]))


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    model = plain_lstm()
    expected = onnx.numpy_helper.to_array(model.graph.initializer[0])
    onnx.save_model(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    read = read_onnx(tmp_path / "model.onnx")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), expected)


def test_graphs_within_graphs_are_bounded(tmp_path: Path) -> None:
    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "body", [], [])
    for _ in range(MAX_DEPTH + 1):
        node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
        body = onnx.helper.make_graph([node], "body", [], [])
    model = onnx.helper.make_model(body)
    with pytest.raises(ImportRefused, match="graphs within graphs"):
        read_onnx(_written(tmp_path, model))


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04\x95not a model")
    with pytest.raises(ImportRefused, match="not a"):
        read_onnx(tmp_path / "model.onnx")
    with pytest.raises(ImportRefused, match="there is no file"):
        read_onnx(tmp_path / "missing.onnx")


def test_damaged_files_are_refused_or_right(tmp_path: Path) -> None:
    """Whatever byte of a file is changed: it is refused in a sentence, or what it became is imported."""
    content, random = plain_lstm().SerializeToString(), np.random.default_rng(11)
    refused = 0
    for _ in range(25):
        changed = bytearray(content)
        changed[random.integers(len(changed))] = random.integers(256)
        (tmp_path / "model.onnx").write_bytes(changed)
        try:
            assert open_file(tmp_path / "model.onnx").proof.passed
        except ImportRefused:
            refused += 1
    assert 0 < refused < 25


@pytest.mark.parametrize("name", ["model.pkl", "model.pt2", "model.h5", "model.keras"])
def test_files_that_would_have_to_be_run_are_refused(tmp_path: Path, name: str) -> None:
    """The refusal says which form of the model can be imported."""
    with pytest.raises(ImportRefused, match=r"ONNX|onnx"):
        open_file(tmp_path / name)


def test_axes_can_be_named() -> None:
    assert parse_axes(["x=batch,time,5"]) == {"x": ("batch", "time", 5)}
    with pytest.raises(ImportRefused, match="NAME=AXIS"):
        parse_axes(["x=rows,time"])


def test_a_number_of_steps_can_be_named() -> None:
    """A graph that declares free steps and is bound to four is imported once the caller says so: step 3 is the last."""
    graph = GraphText()
    for step in (0, 3):
        graph.node("Gather", ["x", graph.constant(f"step{step}", np.array(step))], [f"x{step}"], axis=1)
    graph.node("Sub", ["x3", "x0"], ["y"])
    model = graph.model({"x": (TensorProto.FLOAT, ["n", "t", FEATURES])}, {"y": ["n", FEATURES]})
    with pytest.raises(ImportRefused, match="cannot be served"):
        understand(model)
    found = understand(model, {"x": ("batch", 4, FEATURES)})
    assert [edge.spec.shape for edge in found.draft.edges.inputs] == [("batch", "time", FEATURES)]


def test_two_names_of_time_are_one_axis() -> None:
    """Inputs over time go through it together, and the report says so."""
    graph = GraphText()
    graph.node("Concat", ["x", "z"], ["both"], axis=2)
    graph.node("Transpose", ["both"], ["sequence"], perm=[1, 0, 2])
    graph.recurrence("GRU", "sequence", ["outputs"], linear_before_reset=1)
    graph.node("Squeeze", ["outputs", graph.constant("axis", np.array([1]))], ["squeezed"])
    graph.node("Transpose", ["squeezed"], ["y"], perm=[1, 0, 2])
    inputs = {"x": (TensorProto.FLOAT, ["n", "t", 1]), "z": (TensorProto.FLOAT, ["n", "s", FEATURES - 1])}
    found = understand(graph.model(inputs, {"y": ["n", "t", 4]}))
    assert any("the axes s, t are one axis of time" in sentence for sentence in found.missing)


def test_axes_that_the_graph_contradicts_are_refused() -> None:
    with pytest.raises(ImportRefused, match="--axes x="):
        understand(plain_lstm(), {"x": ("time", "batch", FEATURES)})
