"""Comparison of a rewritten graph with its original, and with itself in other batches and in chunks.

    original  every output equals that of the original, row by row
    padding   a row in a padded batch equals the same row alone
    chunks    a row in chunks, each continued from the state of the one before, equals the row at once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from service.bundle.manifest import GraphSpec, StateSpec, TensorSpec
from service.tasks.core.task import Array
from training.importing.masking import LENGTHS
from training.importing.original import OriginalRunner, initial_state
from training.importing.probing import BATCH, TIME, Opened
from training.publish.verify import TOLERANCE, largest_difference

#: Sizes of batch and time that are compared.
SIZES = ((1, 1), (1, 6), (2, 3), (5, 8), (3, 17))
#: Steps of the chunks that a row is cut into, one after the other.
CHUNKS = (1, 3, 2)
#: The largest id where no embedding bounds them.
_UNBOUNDED = 2


@dataclass
class Proof:
    """The largest difference of each check, and a sentence on each that is too large."""

    checks: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def compare(self, check: str, where: str, expected: Array, found: Array) -> None:
        """Note a difference, and a fault if it is too large."""
        if expected.shape != found.shape:
            self.faults.append(f"{check}: {where} is {list(found.shape)}, not {list(expected.shape)}")
            return
        difference, _ = largest_difference(expected, found)
        self.checks[check] = max(self.checks.get(check, 0.0), difference)
        if not difference <= TOLERANCE:
            self.faults.append(f"{check}: {where} differs by {difference:.1e}")


def prove(
    model: onnx.ModelProto,
    spec: GraphSpec,
    state: Sequence[StateSpec],
    original: OriginalRunner,
    num_ids: Mapping[str, int],
) -> Proof:
    """Run every check. Raises RunRefused if the graph cannot be run, InferenceFailed if the original cannot."""
    runs = _Runs(Opened(model), spec, state, num_ids)
    proof = Proof()
    sizes = SIZES if runs.fixed is None else tuple((batch, runs.fixed) for batch, _ in SIZES)
    if original.steps is not None and runs.over_time:
        sizes = (*sizes, (2, original.steps))
    for batch, time in dict.fromkeys(sizes):
        feeds = runs.feeds(batch, time)
        outputs = runs.run(feeds)
        _check_rows(proof, runs, original, feeds, outputs)
    if state and runs.over_time:
        _check_chunks(proof, runs)
    return proof


class _Runs:
    """Runs of the rewritten graph on random inputs."""

    def __init__(self, opened: Opened, spec: GraphSpec, state: Sequence[StateSpec], num_ids: Mapping[str, int]) -> None:
        self._opened, self.spec, self.state, self._num_ids = opened, spec, state, num_ids
        self._random = np.random.default_rng(0)
        names = {part.name for part in state}
        self.arrays = [tensor for tensor in spec.inputs if tensor.name not in names and tensor.name != LENGTHS]
        self.has_lengths = any(tensor.name == LENGTHS for tensor in spec.inputs)
        self.over_time = any(TIME in tensor.shape for tensor in self.arrays)
        self.fixed = None if self.over_time else 1

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._opened.run(feeds)

    def feeds(self, batch: int, time: int) -> dict[str, Array]:
        """Random inputs; with lengths, of rows of different length, padded with zeros."""
        lengths = np.full(batch, time)
        if self.has_lengths:
            lengths = self._random.integers(1, time + 1, size=batch)
            lengths[self._random.integers(batch)] = time
        feeds = {tensor.name: self._array(tensor, batch, time, lengths) for tensor in self.arrays}
        feeds |= initial_state(self.state, batch)
        return feeds | ({LENGTHS: lengths.astype(np.int64)} if self.has_lengths else {})

    def _array(self, tensor: TensorSpec, batch: int, time: int, lengths: Array) -> Array:
        sizes = {BATCH: batch, TIME: time}
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        if tensor.dtype == "float32":
            array = self._random.uniform(-1.0, 1.0, size=shape).astype(np.float32)
        else:
            most = self._num_ids.get(tensor.name, _UNBOUNDED)
            array = self._random.integers(1 if most > 1 else 0, most, size=shape).astype(tensor.dtype)
        if TIME in tensor.shape:
            array[np.arange(time) >= lengths[:, None]] = 0
        return array

    def lengths_of(self, feeds: Mapping[str, Array]) -> Array:
        first = feeds[self.arrays[0].name]
        time = next((feeds[t.name].shape[1] for t in self.arrays if TIME in t.shape), 1)
        return feeds.get(LENGTHS, np.full(len(first), time))

    def part(self, feeds: Mapping[str, Array], row: int, start: int, end: int) -> dict[str, Array]:
        """Steps of one row, without state."""
        part = {}
        for tensor in self.arrays:
            array = feeds[tensor.name][row : row + 1]
            part[tensor.name] = array[:, start:end] if TIME in tensor.shape else array
        return part | ({LENGTHS: np.array([end - start])} if self.has_lengths else {})

    def cut(self, outputs: Mapping[str, Array], row: int, start: int, end: int) -> dict[str, Array]:
        """One row of the outputs; those over time without padding."""
        cut = {}
        for tensor in self.spec.outputs:
            array = outputs[tensor.name]
            if tensor.shape[0] == BATCH:
                array = array[row : row + 1]
                cut[tensor.name] = array[:, start:end] if TIME in tensor.shape else array
            else:
                cut[tensor.name] = array[:, row : row + 1]
        return cut


def _check_rows(
    proof: Proof, runs: _Runs, original: OriginalRunner, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
) -> None:
    for row, length in enumerate(runs.lengths_of(feeds).tolist()):
        part = {**runs.part(feeds, row, 0, length), **initial_state(runs.state, 1)}
        in_batch, alone = runs.cut(outputs, row, 0, length), runs.run(part)
        _compare(proof, "padding", length, alone, in_batch)
        if not runs.over_time or original.steps in (None, length):
            _compare(proof, "original", length, runs.cut(original.run("model", part), 0, 0, length), in_batch)


def _compare(proof: Proof, check: str, length: int, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    for name, array in found.items():
        proof.compare(check, f"the output {name!r} of a row of {length} steps", expected[name], array)


def _check_chunks(proof: Proof, runs: _Runs) -> None:
    time = sum(CHUNKS)
    feeds = runs.feeds(2, time)
    if runs.has_lengths:
        feeds[LENGTHS][:] = time
    whole = runs.run(feeds)
    for row in range(2):
        state, start = initial_state(runs.state, 1), 0
        for size in CHUNKS:
            outputs = runs.run({**runs.part(feeds, row, start, start + size), **state})
            state = {part.name: outputs[part.next_name] for part in runs.state}
            at_end = start + size == time
            expected = runs.cut(whole, row, start, start + size)
            for tensor in runs.spec.outputs:
                if at_end or TIME in tensor.shape:
                    where = f"the output {tensor.name!r} of steps {start} to {start + size}"
                    proof.compare("chunks", where, expected[tensor.name], outputs[tensor.name])
            start += size
