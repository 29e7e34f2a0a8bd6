"""Validation of graph inputs: the arrays of every run are checked against the `GraphSpec` of the manifest.

The check is part of every run, so whatever is known in advance is computed once, and each array is read in one pass:
interpreted as unsigned, an id below zero is larger than any vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec
from service.bundle.task_options import TensorsOptions
from service.errors import InferenceFailed
from service.tasks.core.task import Array

#: The inputs that hold token ids, and the tokenizers whose vocabulary bounds them, in order of preference.
ID_INPUTS: dict[str, tuple[str, ...]] = {
    "words": ("words", "text"),
    "characters": ("characters",),
    "tokens": ("source", "text"),
    "token": ("target", "text"),
}
LENGTHS = "lengths"
TIME_AXIS = "time"

_UNSIGNED = np.dtype(np.uint64)


def id_limits(bundle: Bundle, graph: str = "") -> dict[str, int]:
    """The number of valid ids of each id input; an id at or above it would read beyond the embedding.

    A graph with a tokenizer of its own name, as a language model beside a recogniser has, reads the ids of that one.
    Without a graph the numbers hold for all. Of named arrays these are the inputs whose range the bundle notes.
    """
    if isinstance(bundle.manifest.options, TensorsOptions):
        return _noted_limits(bundle.manifest.graphs["model"], bundle.manifest.options)
    sizes = {role: tokenizer.vocabulary_size for role, tokenizer in bundle.tokenizers.items()}
    if graph in sizes:
        return dict.fromkeys(ID_INPUTS, sizes[graph])
    found = {name: [sizes[role] for role in roles if role in sizes][:1] for name, roles in ID_INPUTS.items()}
    own = [] if graph else [sizes[name] for name in bundle.manifest.graphs if name in sizes]
    return {name: min(known + own) for name, known in found.items() if known}


def _noted_limits(spec: GraphSpec, options: TensorsOptions) -> dict[str, int]:
    """Of inputs of ids, whose range begins at 0: what is above the largest of them."""
    whole = {tensor.name for tensor in spec.inputs if tensor.dtype == "int64"}
    return {
        name: int(note.maximum) + 1
        for name, note in options.notes.items()
        if name in whole and note.minimum is not None and note.minimum >= 0 and note.maximum is not None
    }


class FeedCheck:
    """Refuses feeds of one graph on which onnxruntime would crash or compute wrong results.

    Checked: names, dtypes, ranks, fixed sizes, axes of equal name equal, no empty axis, ids in `[0, limit)`,
    lengths in `[1, time]`.
    """

    def __init__(self, graph: str, spec: GraphSpec, limits: Mapping[str, int]) -> None:
        self._graph = graph
        self._tensors = tuple((tensor.name, np.dtype(tensor.dtype), tensor.shape) for tensor in spec.inputs)
        self._names = frozenset(tensor.name for tensor in spec.inputs)
        self._fixed: dict[int | str, int] = {
            axis: axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, int)
        }
        self._id_limits = {name: limits[name] for name in limits if name in self._names}
        self._has_lengths = LENGTHS in self._names

    def __call__(self, feeds: Mapping[str, Array]) -> None:
        """Check the inputs of one run.

        Raises:
            InferenceFailed: a bug of the service, not of the caller, whose input was validated before.
        """
        wrong = self.problem(feeds)
        if wrong is not None:
            raise InferenceFailed(f"graph {self._graph!r} was not run: {wrong}")

    def problem(self, feeds: Mapping[str, Array]) -> str | None:
        """What is wrong with the inputs of a run, as the rest of a sentence about the graph; None if nothing is."""
        if feeds.keys() != self._names:
            return f"its inputs are {[name for name, _, _ in self._tensors]}, it was given {list(feeds)}"
        sizes = dict(self._fixed)
        for name, dtype, shape in self._tensors:
            array = feeds[name]
            if array.dtype != dtype or array.ndim != len(shape):
                return f"{name} must be {dtype} {list(shape)}, is {array.dtype} {array.shape}"
            for axis, size in zip(shape, array.shape, strict=True):
                if size == 0 or sizes.setdefault(axis, size) != size:
                    return f"axis {axis!r} of {name} has size {size}, expected {sizes.get(axis) or 'at least 1'}"
        return self._number_problem(feeds, sizes)

    def _number_problem(self, feeds: Mapping[str, Array], sizes: Mapping[int | str, int]) -> str | None:
        for name, limit in self._id_limits.items():
            if _largest_unsigned(feeds[name]) >= limit:
                low, high = feeds[name].min(), feeds[name].max()
                return f"{name} holds ids from {low} to {high}, allowed are 0 to {limit - 1}"
        if self._has_lengths:
            lengths = feeds[LENGTHS]
            longest = sizes.get(TIME_AXIS, np.iinfo(np.int64).max)
            if _largest_unsigned(lengths - 1) >= longest:
                return f"lengths go from {lengths.min()} to {lengths.max()}, allowed are 1 to {longest}"
        return None


def _largest_unsigned(array: Array) -> int:
    """The largest element of int64s read as unsigned, so that negative ones count as huge."""
    return int(np.maximum.reduce(array.view(_UNSIGNED), axis=None))
