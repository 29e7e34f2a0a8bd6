"""Named arrays in the rows of a table: the answers that the bundles recorded, and columns for their outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from service.bundle.load import Bundle, load_bundle
from service.offline import Scorer
from service.offline.answering.near_lengths import near_length_batches
from service.offline.job.run import FileJob, score_file
from service.offline.reading.options import ReadOptions
from tests.tasks.tensors.tiny_tensors import sample, write_tensors_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tensors_bundle(tmp_path_factory.mktemp("models"), "equal"))


def test_outputs_are_columns(bundle: Bundle) -> None:
    """Objects, their JSON and arrays are inputs; each output is a column of its depth; a broken row has its reason."""
    arrays = sample("equal", 4)
    cells = [{"tensors": arrays}, arrays, json.dumps(arrays), {"x": np.array(arrays["x"])}, {"x": 1}, 3, None]
    found = Scorer(bundle.path)({"tensors": cells})
    expected = bundle.examples[0].answer["outputs"]
    for row in range(4):
        assert np.allclose(found["z"][row], expected["z"], atol=1e-5)
        assert np.allclose(found["last"][row], expected["last"], atol=1e-5)
    told = ["tensors.x: this is a number, here belongs a list", "an object of arrays by name is expected", "null"]
    assert all(part in error for part, error in zip(told, found["error"][4:], strict=True))


def test_files_are_scored(bundle: Bundle, tmp_path: Path) -> None:
    """JSON lines with inputs of many lengths get the answers that each has alone."""
    inputs = [sample("equal", length, seed=length) for length in (3, 5, 3, 7, 5)]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"tensors": one}) for one in inputs), encoding="utf-8")
    scorer = Scorer(bundle.path)
    out = tmp_path / "out.jsonl"
    score_file(FileJob(scorer, tmp_path / "in.jsonl", out, ReadOptions(scorer.kind), overwrites=True))
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    for row, given in zip(rows, inputs, strict=True):
        (alone,) = scorer.answer([given])
        assert alone.answer is not None
        assert np.allclose(row["z"], alone.answer["outputs"]["z"], atol=1e-5)
        assert np.allclose(row["last"], alone.answer["outputs"]["last"], atol=1e-5)


def test_types_follow_the_graph(bundle: Bundle, tmp_path: Path) -> None:
    """Columns of Arrow have lists as deep as the outputs, of whole numbers where the graph gives those."""
    schema = Scorer(bundle.path).arrow_schema(pa.schema([]))
    assert (schema.field("z").type, schema.field("last").type) == (
        pa.list_(pa.list_(pa.float64())),
        pa.list_(pa.float64()),
    )
    labels = write_tensors_bundle(tmp_path, "labels")
    scorer = Scorer(labels, parameters={"outputs": ["best"]})
    assert scorer.arrow_schema(pa.schema([])).field("best").type == pa.list_(pa.int64())


def test_batches_of_equal_lengths() -> None:
    """Where the graph would read padding, no batch has two lengths, and every row is in one."""
    lengths = [3, 4, 3, 4, 4, 9]
    batches = near_length_batches(lengths, equal=True)
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert [{lengths[index] for index in batch} for batch in batches] == [{3}, {4}, {9}]
