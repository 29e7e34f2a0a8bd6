"""Models of torch through the importer: each row in a mixed batch, in chunks and in steps equals torch's row alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from service.bundle.manifest import LENGTHS, TIME_AXIS
from tests.training.importing.foreign_models import DYNAMO_MODELS, MODELS, STEPS, ForeignModel
from training.importing.proof import RewrittenRunner
from training.importing.understanding import Draft, Understanding, understand

MIXED = (7, 1, 4, 6)
CASES = [("old", name) for name in MODELS] + [("new", name) for name in DYNAMO_MODELS]


class Case:
    """A foreign model, what was understood of it, and torch's answers to rows of several lengths."""

    def __init__(self, exporter: str, name: str) -> None:
        self.model: ForeignModel = (MODELS if exporter == "old" else DYNAMO_MODELS)[name]()
        file = self.model.file() if exporter == "old" else self.model.file_of_dynamo()
        self.understanding: Understanding = understand(file)
        self.draft: Draft = self.understanding.draft
        self._runner = RewrittenRunner(self.draft.model)
        self._random = np.random.default_rng(7)
        self.inputs = [edge for edge in self.draft.edges.inputs if edge.spec.name != LENGTHS]

    def row(self, length: int) -> dict[str, np.ndarray]:
        """A row of every input, in the form of the bundle, with a batch axis of 1."""
        row = {}
        for edge in self.inputs:
            sizes = {"batch": 1, TIME_AXIS: length}
            shape = [sizes.get(axis, axis) for axis in edge.spec.shape]
            if edge.spec.dtype == "float32":
                row[edge.spec.name] = self._random.uniform(-1, 1, shape).astype(np.float32)
            else:
                row[edge.spec.name] = self._random.integers(1, 2 if edge.source == "mask" else 11, shape)
            row[edge.spec.name] = row[edge.spec.name].astype(edge.spec.dtype)
        return row

    def by_torch(self, row: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What torch computes of a row alone, by the names of the bundle."""
        named = {edge.source: edge for edge in self.draft.edges.inputs}
        length = next((row[e.spec.name].shape[1] for e in self.inputs if TIME_AXIS in e.spec.shape), STEPS)
        given = []
        for name, example in self.model.inputs.items():
            if name.endswith(LENGTHS):
                given.append(np.array([length]))
            elif name in named:
                edge = named[name]
                inverse = np.argsort(edge.perm)
                given.append(row[edge.spec.name].transpose(inverse).astype(example.numpy().dtype))
            else:
                given.append(np.zeros((example.shape[0], 1, example.shape[2]), dtype=np.float32))
        answers = dict(zip(self.model.outputs, self.model.answers(*given), strict=True))
        for edge in self.draft.edges.outputs:
            if edge.flat:  # of one row
                answers[edge.source] = answers[edge.source][None]
        return {e.spec.name: answers[e.source].transpose(e.perm) for e in self.draft.edges.outputs}

    def run(
        self, rows: list[dict[str, np.ndarray]], state: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows as one padded batch through the rewritten graph."""
        lengths = [self.length(row) for row in rows]
        feeds = {}
        for edge in self.inputs:
            parts = [row[edge.spec.name] for row in rows]
            if TIME_AXIS in edge.spec.shape:
                parts = [
                    np.pad(part, [(0, 0), (0, max(lengths) - part.shape[1])] + [(0, 0)] * (part.ndim - 2))
                    for part in parts
                ]
            feeds[edge.spec.name] = np.concatenate(parts)
        if self.draft.has_lengths:
            feeds[LENGTHS] = np.array(lengths)
        zeros = {part.name: np.zeros((part.layers, len(rows), part.width), np.float32) for part in self.draft.state}
        return self._runner.run("model", {**feeds, **zeros, **(state or {})})

    def length(self, row: Mapping[str, np.ndarray]) -> int:
        return next((row[e.spec.name].shape[1] for e in self.inputs if TIME_AXIS in e.spec.shape), 1)

    def part(self, row: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
        return {
            e.spec.name: row[e.spec.name][:, start:end] if TIME_AXIS in e.spec.shape else row[e.spec.name]
            for e in self.inputs
        }

    def expect(self, expected: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], row: int, end: int) -> None:
        for edge in self.draft.edges.outputs:
            found = outputs[edge.spec.name][row : row + 1]
            found = found[:, :end] if TIME_AXIS in edge.spec.shape else found
            np.testing.assert_allclose(found, expected[edge.spec.name], atol=2e-5, rtol=1e-4)


@pytest.fixture(scope="module", params=CASES, ids=": ".join)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def test_rows_of_a_mixed_batch_are_those_of_torch(case: Case) -> None:
    """Each row of a padded batch equals what torch computes of it alone; without lengths, of a batch of equal ones."""
    assert case.draft.has_lengths == case.model.in_batches
    rows = [case.row(length if case.draft.has_lengths else 5) for length in MIXED]
    outputs = case.run(rows)
    for index, row in enumerate(rows):
        case.expect(case.by_torch(row), outputs, index, case.length(row))


def test_chunks_and_steps_are_those_of_torch(case: Case) -> None:
    """A row cut into chunks and single steps, each from the state before, equals torch's answer to the whole row."""
    assert bool(case.draft.state) == case.model.in_chunks, case.understanding.missing
    if not case.draft.state:
        return
    row = case.row(7)
    expected = case.by_torch(row)
    for sizes in ((3, 4), (1,) * 7):
        state: dict[str, np.ndarray] = {}
        start = 0
        for size in sizes:
            outputs = case.run([case.part(row, start, start + size)], state)
            state = {part.name: outputs[part.next_name] for part in case.draft.state}
            start += size
            for edge in case.draft.edges.outputs:
                if TIME_AXIS in edge.spec.shape:
                    of_chunk = expected[edge.spec.name][:, start - size : start]
                    np.testing.assert_allclose(outputs[edge.spec.name], of_chunk, atol=2e-5, rtol=1e-4)
                elif start == 7:
                    np.testing.assert_allclose(outputs[edge.spec.name], expected[edge.spec.name], atol=2e-5, rtol=1e-4)
