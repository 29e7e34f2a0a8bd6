"""Random valid feeds for a bundle's graphs, generated from the tensors that the manifest declares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.bundle.manifest import ROW_AXES, GraphSpec, TensorSpec
from service.tasks.core.task import Array

Feeds = dict[str, Array]

#: `(batch, time)` of the feeds: single rows and batches, single steps and sequences.
BATCH_AND_TIME_SIZES = ((1, 1), (1, 6), (2, 3), (5, 8), (3, 33))
#: Characters of the longest word for each of these sizes.
WORD_LENGTHS = (1, 4, 24, 9, 12)

#: Factor on the length of audio samples, so that they cover several steps and a part of one.
SAMPLES_PER_STEP = 97

#: The most steps of a chunk.
MAX_CHUNK_STEPS = 5


class VerificationInputs:
    """Generates feeds from a seed: valid ids within each row's length, zeros beyond, states and memory in -1 to 1."""

    def __init__(
        self,
        id_limits: Mapping[str, int],
        seed: int = 0,
        typical: Mapping[str, Array] | None = None,
        values_per_step: int = 1,
    ) -> None:
        """`id_limits`: for each input of token ids the size of its vocabulary.

        `typical`: for inputs with another range than -1 to 1 a row `[time, width]`; feeds are generated near it.
        `values_per_step`: steps of the input for each step of the output, which chunks hold whole.
        """
        self.values_per_step = values_per_step
        self._id_limits = id_limits
        self._typical = typical or {}
        self._random = np.random.default_rng(seed)

    def all_sizes(self, spec: GraphSpec) -> list[Feeds]:
        """One set of feeds for each size of `BATCH_AND_TIME_SIZES`."""
        pairs = zip(BATCH_AND_TIME_SIZES, WORD_LENGTHS, strict=True)
        return [self.feeds(spec, batch, time, characters) for (batch, time), characters in pairs]

    def feeds(self, spec: GraphSpec, batch: int, time: int, characters: int = 1) -> Feeds:
        """Inputs of one size. At least one row has length `time`; no row is longer."""
        if self.values_per_step > 1:
            time *= self.values_per_step
        elif any(tensor.name == "samples" for tensor in spec.inputs):
            time *= SAMPLES_PER_STEP
        axes = {**dict.fromkeys(ROW_AXES, batch), "time": time, "chars": characters}
        lengths = self._random.integers(1, time + 1, size=batch)
        lengths[self._random.integers(batch)] = time
        return {tensor.name: self._array(tensor, axes, lengths) for tensor in spec.inputs}

    def chunk_sizes(self, remaining: Array) -> Array:
        """The size of each row's next chunk: random, at least one step, at most those remaining."""
        sizes = self.values_per_step * self._random.integers(1, MAX_CHUNK_STEPS + 1, size=remaining.shape)
        return np.minimum(sizes, remaining)

    def _array(self, tensor: TensorSpec, axes: Mapping[str, int], lengths: Array) -> Array:
        shape = shape_of(tensor, axes)
        if tensor.name == "lengths":
            return lengths
        if tensor.name in self._typical:
            row = self._typical[tensor.name]
            near = row + row.std(axis=0) * self._random.uniform(-1.0, 1.0, size=shape)
            return np.asarray(near, dtype=np.float32)
        if tensor.dtype == "float32":
            return self._random.uniform(-1.0, 1.0, size=shape).astype(np.float32)
        if tensor.dtype == "uint8":
            return self._random.integers(0, 256, size=shape, dtype=np.uint8)
        # Id 0 is padding, so that valid ids start at 1.
        ids = self._random.integers(1, self._id_limits[tensor.name], size=shape)
        if "time" in tensor.shape:
            ids[np.arange(shape[1]) >= lengths[:, None]] = 0
        if "chars" in tensor.shape:
            self._shorten_words(ids)
        return ids

    def _shorten_words(self, characters: Array) -> None:
        ends = self._random.integers(1, characters.shape[2] + 1, size=characters.shape[:2])
        characters[np.arange(characters.shape[2]) >= ends[..., None]] = 0


def shape_of(tensor: TensorSpec, axes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a tensor for given sizes of its named axes."""
    return tuple(axis if isinstance(axis, int) else axes[axis] for axis in tensor.shape)


def axes_of(spec: GraphSpec, feeds: Mapping[str, Array], values_per_step: int = 1) -> dict[str, int]:
    """The sizes of all named axes."""
    sizes = (zip(tensor.shape, feeds[tensor.name].shape, strict=True) for tensor in spec.inputs)
    axes = {axis: size for pairs in sizes for axis, size in pairs if isinstance(axis, str)}
    if "time" not in axes:
        return axes
    return axes | {"steps": num_steps(axes["time"], values_per_step), "candidates": axes["time"] + 1}


def num_rows(spec: GraphSpec, feeds: Mapping[str, Array]) -> int:
    """The rows of a batch, or the arcs of its sentences."""
    axes = axes_of(spec, feeds)
    return next(axes[axis] for axis in ROW_AXES if axis in axes)


def num_steps(length: int, values_per_step: int) -> int:
    """Steps of the output for an input of this length; the last one may be a part."""
    return -(-length // values_per_step)


def row_alone(
    tensors: tuple[TensorSpec, ...], arrays: Mapping[str, Array], row: int, length: int, values_per_step: int = 1
) -> Feeds:
    """One row of every tensor as a batch of one, without padding in `time`, `steps`, `candidates` and `chars`.

    Candidates are the words that may be heads, after the root.
    """
    num_characters = max((_used_characters(arrays[t.name][row]) for t in tensors if "chars" in t.shape), default=0)
    steps = slice(0, num_steps(length, values_per_step))
    of_input = {"time": slice(0, length), "candidates": slice(0, length + 1), "chars": slice(0, num_characters)}
    kept = {**dict.fromkeys(ROW_AXES, slice(row, row + 1)), "steps": steps, **of_input}
    return {t.name: arrays[t.name][tuple(kept.get(str(axis), slice(None)) for axis in t.shape)] for t in tensors}


def chunk_of(spec: GraphSpec, feeds: Mapping[str, Array], rows: Array, starts: Array, sizes: Array) -> Feeds:
    """`sizes` steps from `starts` of each of `rows`, padded to the longest; without recurrent state."""
    chunk: Feeds = {"lengths": sizes}
    for tensor in spec.inputs:
        if "time" in tensor.shape:
            steps = starts[:, None] + np.arange(sizes.max())
            whole = feeds[tensor.name]
            taken = whole[rows[:, None], np.minimum(steps, whole.shape[1] - 1)].copy()
            taken[np.arange(sizes.max()) >= sizes[:, None]] = 0
            chunk[tensor.name] = taken
    return chunk


def _used_characters(words: Array) -> int:
    return int((words != 0).sum(axis=1).max())
