"""What may enter a graph: the contract of `GraphSpec`, checked on the real arrays before every run."""

from __future__ import annotations

from collections.abc import Mapping

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec
from service.errors import InferenceFailed
from service.tasks.base import Array

#: The inputs that hold token ids, and the tokenizers whose vocabulary bounds them, in order of preference.
ID_INPUTS: dict[str, tuple[str, ...]] = {
    "words": ("words", "text"),
    "characters": ("characters",),
    "tokens": ("source", "text"),
    "token": ("target", "text"),
}
LENGTHS = "lengths"


def id_limits(bundle: Bundle) -> dict[str, int]:
    """For each id input the number of ids that exist; ids at or above it would read beyond the embedding."""
    return {
        name: next(bundle.tokenizers[role].vocabulary_size for role in roles if role in bundle.tokenizers)
        for name, roles in ID_INPUTS.items()
        if any(role in bundle.tokenizers for role in roles)
    }


def check_feeds(graph: str, spec: GraphSpec, feeds: Mapping[str, Array], limits: Mapping[str, int]) -> None:
    """Refuse feeds that onnxruntime would crash on or answer wrongly.

    Checked: names, dtypes, ranks, fixed sizes, axes of equal name equal, no empty axis, ids in `[0, limit)`,
    lengths in `[1, time]`.

    Raises:
        InferenceFailed: this is a fault of the program, not of the caller, whose input was checked long before.
    """
    wrong = _problem(spec, feeds, limits)
    if wrong is not None:
        raise InferenceFailed(f"graph {graph!r} was not run: {wrong}")


def _problem(spec: GraphSpec, feeds: Mapping[str, Array], limits: Mapping[str, int]) -> str | None:
    if feeds.keys() != {tensor.name for tensor in spec.inputs}:
        return f"its inputs are {[tensor.name for tensor in spec.inputs]}, it was given {list(feeds)}"
    axes: dict[int | str, int] = {}
    for tensor in spec.inputs:
        array = feeds[tensor.name]
        if array.dtype.name != tensor.dtype or array.ndim != len(tensor.shape):
            return f"{tensor.name} must be {tensor.dtype} {list(tensor.shape)}, is {array.dtype} {array.shape}"
        for axis, size in zip(tensor.shape, array.shape, strict=True):
            known = axis if isinstance(axis, int) else axes.setdefault(axis, size)
            if size != known or size == 0:
                return f"axis {axis!r} of {tensor.name} has size {size}, expected {known or 'at least 1'}"
    return _id_problem(feeds, limits) or _length_problem(feeds, axes)


def _id_problem(feeds: Mapping[str, Array], limits: Mapping[str, int]) -> str | None:
    for name in feeds.keys() & limits.keys():
        low, high = int(feeds[name].min()), int(feeds[name].max())
        if low < 0 or high >= limits[name]:
            return f"{name} holds ids from {low} to {high}, allowed are 0 to {limits[name] - 1}"
    return None


def _length_problem(feeds: Mapping[str, Array], axes: Mapping[int | str, int]) -> str | None:
    if LENGTHS not in feeds:
        return None
    low, high = int(feeds[LENGTHS].min()), int(feeds[LENGTHS].max())
    longest = axes.get("time", high)
    if low < 1 or high > longest:
        return f"lengths go from {low} to {high}, allowed are 1 to {longest}"
    return None
