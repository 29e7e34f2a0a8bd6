"""Checks of a graph of named arrays: shapes, rows alone and in padded batches, and rows in chunks.

Inputs are drawn at random in the ranges that the manifest notes. Padding is zeros, as the service pads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.manifest import LENGTHS, TIME_AXIS, GraphSpec, Manifest, StateSpec, TensorSpec
from service.bundle.task_options import TensorsOptions
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, Runner, run_with_hidden
from training.publish.parity_report import ParityReport

GRAPH = "model"
#: Sizes of batch and time that are compared.
SIZES = ((1, 1), (1, 6), (2, 3), (5, 8), (3, 17))
#: Steps of the chunks that a row is cut into, one after the other.
CHUNKS = (1, 3, 2)
#: Whole numbers that are drawn where nothing bounds them: 0 and 1.
_UNBOUNDED = (0.0, 1.0)

#: The least and the largest number of an input, by name.
Ranges = Mapping[str, tuple[float, float]]


def ranges_of(manifest: Manifest) -> dict[str, tuple[float, float]]:
    """The ranges of inputs that a manifest notes."""
    notes = manifest.options.notes if isinstance(manifest.options, TensorsOptions) else {}
    return {
        name: (note.minimum, note.maximum)
        for name, note in notes.items()
        if note.minimum is not None and note.maximum is not None
    }


def check_arrays(
    report: ParityReport,
    runner: Runner,
    spec: GraphSpec,
    state: Sequence[StateSpec],
    ranges: Ranges,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Compare rows in batches with the same rows alone, and in chunks where there is a state."""
    arrays = NamedArrays(spec, state, ranges)
    for feeds, outputs in runs_of(arrays, runner, sizes):
        for row, length in enumerate(arrays.lengths(feeds)):
            alone = run_with_hidden(runner, GRAPH, arrays.row_alone(feeds, row, length))
            compare_row(report, "padding", arrays, (row, length), alone, outputs)
    if state and arrays.is_over_time:
        _check_chunks(report, arrays, runner)


class NamedArrays:
    """The inputs and outputs of a graph of named arrays, with random inputs for it."""

    def __init__(self, spec: GraphSpec, state: Sequence[StateSpec], ranges: Ranges, seed: int = 0) -> None:
        self.spec, self.state, self._ranges = spec, state, ranges
        self._random = np.random.default_rng(seed)
        names = {part.name for part in state}
        self._inputs = [tensor for tensor in spec.inputs if tensor.name not in names and tensor.name != LENGTHS]
        self.has_lengths = any(tensor.name == LENGTHS for tensor in spec.inputs)
        self.is_over_time = any(TIME_AXIS in tensor.shape for tensor in self._inputs)

    def feeds(self, batch: int, time: int, *, is_full: bool = False) -> dict[str, Array]:
        """Random inputs. With lengths, rows are of different length unless they are to be full."""
        lengths = np.full(batch, time, dtype=np.int64)
        if self.has_lengths and not is_full:
            lengths = self._random.integers(1, time + 1, size=batch)
            lengths[self._random.integers(batch)] = time
        feeds = {tensor.name: self._array(tensor, lengths) for tensor in self._inputs}
        return self._whole(feeds, lengths)

    def lengths(self, feeds: Mapping[str, Array]) -> list[int]:
        """The steps of each row; 1 where no input is over time."""
        first = feeds[self._inputs[0].name]
        time = next((feeds[t.name].shape[1] for t in self._inputs if TIME_AXIS in t.shape), 1)
        found: list[int] = feeds.get(LENGTHS, np.full(len(first), time)).tolist()
        return found

    def row_alone(self, feeds: Mapping[str, Array], row: int, length: int, start: int = 0) -> dict[str, Array]:
        """`length` steps of one row from `start`, from the zero state."""
        steps = slice(start, start + length)
        part = {}
        for tensor in self._inputs:
            array = feeds[tensor.name][row : row + 1]
            part[tensor.name] = array[:, steps] if TIME_AXIS in tensor.shape else array
        return self._whole(part, np.array([length]))

    def outputs_of(self, outputs: Mapping[str, Array], row: int, length: int) -> dict[str, Array]:
        """One row of every output, without padding."""
        found = {}
        for tensor in self.spec.outputs:
            array = outputs[tensor.name]
            place = tensor.row_axis
            alone = array[row : row + 1] if place == 0 else array[:, row : row + 1]
            found[tensor.name] = alone[:, :length] if TIME_AXIS in tensor.shape else alone
        return found

    def _whole(self, arrays: dict[str, Array], lengths: Array) -> dict[str, Array]:
        zeros = RecurrentState.zeros(self.state, len(lengths)).arrays
        return {**arrays, **({LENGTHS: lengths.astype(np.int64)} if self.has_lengths else {}), **zeros}

    def _array(self, tensor: TensorSpec, lengths: Array) -> Array:
        sizes = {"batch": len(lengths), TIME_AXIS: int(lengths.max())}
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        is_float = tensor.dtype == "float32"
        low, high = self._ranges.get(tensor.name, (-1.0, 1.0) if is_float else _UNBOUNDED)
        if is_float:
            array = self._random.uniform(low, high, size=shape).astype(np.float32)
        else:
            array = self._random.integers(int(low), int(high) + 1, size=shape).astype(tensor.dtype)
            if (low, high) == _UNBOUNDED:  # it may be a mask, and there is no mean of masked steps alone
                array[:, :1] = 1
        if TIME_AXIS in tensor.shape:
            array[np.arange(shape[1]) >= lengths[:, None]] = 0
        return array


class Run(NamedTuple):
    """The feeds of one run, and its outputs."""

    feeds: dict[str, Array]
    outputs: dict[str, Array]


def runs_of(arrays: NamedArrays, runner: Runner, sizes: Sequence[tuple[int, int]]) -> Iterator[Run]:
    """A run of every size on random inputs."""
    for batch, time in sizes if arrays.is_over_time else dict.fromkeys((batch, 1) for batch, _ in sizes):
        feeds = arrays.feeds(batch, time)
        yield Run(feeds, run_with_hidden(runner, GRAPH, feeds))


def compare_row(
    report: ParityReport,
    check: str,
    arrays: NamedArrays,
    row: tuple[int, int],
    alone: Mapping[str, Array],
    outputs: Mapping[str, Array],
) -> None:
    """Compare a row, given by its index and its length, computed alone with the same row of a batch."""
    index, length = row
    expected, found = arrays.outputs_of(alone, 0, length), arrays.outputs_of(outputs, index, length)
    for name, array in found.items():
        where = f"row {index} of length {length}, output {name!r}"
        if expected[name].dtype != array.dtype:
            report.fail("shapes", f"{where}: expected {expected[name].dtype}, found {array.dtype}")
        report.compare(check, where, *_without_common_nans(expected[name], array))


def _without_common_nans(expected: Array, found: Array) -> tuple[Array, Array]:
    """What is no number in both, such as the deviation of a single step, is no difference."""
    if expected.dtype.kind != "f" or expected.shape != found.shape:
        return expected, found
    are_nan = np.isnan(expected) & np.isnan(found)
    return np.where(are_nan, np.float32(0), expected), np.where(are_nan, np.float32(0), found)


def _check_chunks(report: ParityReport, arrays: NamedArrays, runner: Runner) -> None:
    """Compare rows in chunks, each continued from the state of the one before, with the rows at once."""
    time, num_rows = sum(CHUNKS), 2
    feeds = arrays.feeds(num_rows, time, is_full=True)
    whole = run_with_hidden(runner, GRAPH, feeds)
    for row in range(num_rows):
        state, start = RecurrentState.zeros(arrays.state, 1).arrays, 0
        for size in CHUNKS:
            outputs = run_with_hidden(runner, GRAPH, {**arrays.row_alone(feeds, row, size, start), **state})
            state = {part.name: outputs[part.next_name] for part in arrays.state}
            for tensor in arrays.spec.outputs:
                expected = arrays.outputs_of(whole, row, time)[tensor.name]
                if TIME_AXIS in tensor.shape:
                    expected = expected[:, start : start + size]
                elif start + size < time:
                    continue
                where = f"row {row}, steps {start} to {start + size}, output {tensor.name!r}"
                report.compare("chunks", where, expected, outputs[tensor.name])
            start += size
