"""Runs of named arrays: every answer is the one that its input has alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.bundle.padding import Array
from service.errors import InferenceFailed, InvalidInput
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.tasks.core.chunk_state import ChunkState
from service.tasks.core.task import Tensors
from service.tasks.tensors.tensors import TensorsExample, TensorsParameters, TensorsTask
from tests.tasks.builders import FunctionRunner
from tests.tasks.tensors.tiny_tensors import HIDDEN, NUM_IDS, sample, write_tensors_bundle

KINDS = ("lstm", "masked", "equal", "labels", "several", "fixed")
ALL = TensorsParameters()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OpenBundle]:
    root = tmp_path_factory.mktemp("models")
    return {kind: open_bundle(write_tensors_bundle(root, kind)) for kind in (*KINDS, "unbounded")}


def task_of(opened: OpenBundle) -> TensorsTask:
    assert isinstance(opened.task, TensorsTask)
    return opened.task


def example(opened: OpenBundle, arrays: dict[str, Any]) -> TensorsExample:
    return task_of(opened).preprocess(Tensors(arrays), ALL)


def answers(opened: OpenBundle, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs of inputs that share a run."""
    task, examples = task_of(opened), [example(opened, arrays) for arrays in inputs]
    outputs = task.run(opened.runner, examples)
    return [task.plain_answer(*pair)["outputs"] for pair in zip(examples, outputs, strict=True)]


def bare(path: Path, opened: OpenBundle, arrays: dict[str, Any]) -> dict[str, Array]:
    """What onnxruntime gives for one input."""
    session = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    dtypes = {tensor.name: tensor.dtype for tensor in opened.bundle.manifest.graphs["model"].inputs}
    feeds = {name: np.array(value, dtype=dtypes[name])[None] for name, value in arrays.items()}
    if "lengths" in dtypes:
        feeds["lengths"] = np.array([len(arrays["x"])])
    feeds |= {name: np.zeros((1, 1, HIDDEN), dtype=np.float32) for name in ("h0", "c0") if name in dtypes}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_that_of_the_bare_graph(kind: str, opened: dict[str, OpenBundle]) -> None:
    """The outputs of one input are those that onnxruntime gives for it, without the batch axis and the state."""
    arrays = sample(kind, 7, seed=3)
    (found,) = answers(opened[kind], [arrays])
    expected = bare(opened[kind].bundle.path, opened[kind], arrays)
    assert set(found) == {name for name in expected if not name.endswith("_out")}
    for name, value in found.items():
        assert np.array_equal(np.array(value, dtype=expected[name].dtype), expected[name][0])


@pytest.mark.parametrize("kind", ["lstm", "masked", "several"])
def test_padding_changes_no_answer(kind: str, opened: dict[str, OpenBundle]) -> None:
    """Inputs of different lengths in one run have the answers that they have alone."""
    inputs = [sample(kind, length, seed=length) for length in (3, 9, 1, 6)]
    together = answers(opened[kind], inputs)
    for arrays, found in zip(inputs, together, strict=True):
        (alone,) = answers(opened[kind], [arrays])
        assert {name: np.shape(value) for name, value in found.items()} == {
            name: np.shape(value) for name, value in alone.items()
        }
        for name, value in found.items():
            assert np.allclose(value, alone[name], atol=1e-5)


def test_a_graph_without_lengths_says_that_it_needs_equal_ones(opened: dict[str, OpenBundle]) -> None:
    """Only bundles whose graph would read padding ask for inputs of one length, and answer those in one run."""
    assert {kind for kind in KINDS if task_of(opened[kind]).equal_lengths} == {"equal", "labels"}
    inputs = [sample("equal", 5, seed=seed) for seed in range(3)]
    assert answers(opened["equal"], inputs) == [answers(opened["equal"], [arrays])[0] for arrays in inputs]


def test_chunks_give_what_the_whole_gives(opened: dict[str, OpenBundle]) -> None:
    """The rows of the chunks are those of the whole input, the state is carried in bytes, and the end is the same."""
    bundle, task = opened["lstm"], task_of(opened["lstm"])
    arrays = sample("lstm", 12)
    (whole,) = answers(bundle, [arrays])
    rows: list[Any] = []
    before: bytes | None = None
    for start, end in [(0, 1), (1, 6), (6, 12)]:
        part = task.chunk(Tensors({"x": arrays["x"][start:end]}), ALL, before, is_last=False)
        (output,) = task.run(bundle.runner, [part])
        (answer,) = task.answers(task.plain_answer(part, output))
        rows += answer["outputs"]["z"]
        state = task.state_after(part, output)
        before = state.to_bytes()
    assert np.allclose(rows, whole["z"], atol=1e-6)
    assert np.allclose(answer["outputs"]["last"], whole["last"], atol=1e-6)
    assert ChunkState.from_bytes(before or b"", bundle.bundle.manifest.state).num_tokens == 12


def test_a_graph_without_state_reads_no_chunks(opened: dict[str, OpenBundle]) -> None:
    """Carrying a state is refused, with the reason, where the graph has none."""
    with pytest.raises(InvalidInput, match="reads its input as a whole"):
        task_of(opened["masked"]).chunk(Tensors(sample("masked", 2)), ALL, None, is_last=False)


def test_outputs_are_chosen_by_name(opened: dict[str, OpenBundle]) -> None:
    """Only the outputs that are asked for are answered, in that order; an unknown one is refused."""
    bundle, task = opened["lstm"], task_of(opened["lstm"])
    asked = task.preprocess(Tensors(sample("lstm", 4)), TensorsParameters(outputs=["last"]))
    (output,) = task.run(bundle.runner, [asked])
    assert list(task.plain_answer(asked, output)["outputs"]) == ["last"]
    assert (task.answer_size(asked), task.answer_size(example(bundle, sample("lstm", 4)))) == (2, 4 * 2 + 2)
    with pytest.raises(InvalidInput, match="there is no such output; there are: z, last") as caught:
        task.preprocess(Tensors(sample("lstm", 4)), TensorsParameters(outputs=["z", "h0_out"]))
    assert caught.value.field == ("parameters", "outputs", 1)


def test_an_id_without_a_row_fails_its_own_input_alone(opened: dict[str, OpenBundle]) -> None:
    """Where the bundle notes no bounds, an id that the graph refuses does not fail the others of its run."""
    bundle, task = opened["unbounded"], task_of(opened["unbounded"])
    inputs = [{"tokens": [1, 2]}, {"tokens": [1, NUM_IDS]}, {"tokens": [3, 4]}]
    examples = [example(bundle, arrays) for arrays in inputs]
    outputs = task.run(bundle.runner, examples)
    with pytest.raises(InferenceFailed, match="out of data bounds"):
        task.plain_answer(examples[1], outputs[1])
    for index in (0, 2):
        found = task.plain_answer(examples[index], outputs[index])["outputs"]
        assert found == answers(bundle, [inputs[index]])[0]


def test_a_row_that_is_not_finite_fails_alone(opened: dict[str, OpenBundle]) -> None:
    """NaN in one row of a run is an error of that row; NaN in the padding is none."""
    task = task_of(opened["masked"])

    def graph(feeds: Any) -> dict[str, Array]:
        z = np.zeros((2, 3, 2), dtype=np.float32)
        z[0, 2] = np.nan  # padding
        z[1, 2] = np.nan
        return {"z": z, "last": np.zeros((2, 2), dtype=np.float32)}

    examples = [example(opened["masked"], sample("masked", length)) for length in (2, 3)]
    first, second = task.run(FunctionRunner(model=graph), examples)
    assert task.plain_answer(examples[0], first)["outputs"]["z"] == [[0, 0], [0, 0]]
    with pytest.raises(InferenceFailed, match="output 'z' that is not of finite numbers"):
        task.plain_answer(examples[1], second)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_answers_are_checked_at_load(kind: str, opened: dict[str, OpenBundle]) -> None:
    """A bundle repeats its recorded answers when it is opened."""
    bundle = opened[kind].bundle
    assert bundle.examples[0].answer["outputs"]
    self_check(opened[kind])
