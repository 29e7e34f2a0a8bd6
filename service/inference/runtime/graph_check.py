"""Checks of an open session: its tensors are those of the manifest, and its nodes run on the intended provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.bundle.manifest import GraphSpec, TensorSpec
from service.errors import BundleCorrupt, BundleError
from service.inference.runtime.device import CUDA_PROVIDER

RECURRENT_OPERATORS = frozenset({"LSTM", "GRU", "RNN"})

_NUMPY_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32", "tensor(uint8)": "uint8"}


def check_tensors(file: Path, session: Any, spec: GraphSpec) -> None:
    """The graph must have exactly the tensors of the manifest: same names, types and ranks. Raises BundleCorrupt."""
    _check_side(file, "input", spec.inputs, session.get_inputs())
    _check_side(file, "output", spec.outputs, session.get_outputs())


def _check_side(file: Path, kind: str, specs: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    declared = {spec.name: (spec.dtype, len(spec.shape)) for spec in specs}
    actual = {node.name: (_NUMPY_DTYPES.get(node.type, node.type), len(node.shape)) for node in found}
    for name in sorted(declared.keys() | actual.keys()):
        if declared.get(name) != actual.get(name):
            promised, real = _tensor(declared, name), _tensor(actual, name)
            raise BundleCorrupt(file, f"{kind} {name!r}: {promised} in the manifest, {real} in the graph")


def _tensor(tensors: Mapping[str, tuple[str, int]], name: str) -> str:
    return "{} with {} axes".format(*tensors[name]) if name in tensors else "absent"


def check_placement(file: Path, session: Any, provider: str) -> None:
    """Refuse a session whose recurrent nodes are not on `provider`: onnxruntime falls back to the CPU silently.

    Raises:
        BundleError: naming the provider that is missing, or the operators that would run elsewhere.
    """
    if session.get_providers()[0] != provider:
        raise BundleError(file, f"{provider} could not be started (is the driver missing?)")
    moved = sorted(name for name in operators_elsewhere(session, provider) if name in RECURRENT_OPERATORS)
    if moved:
        raise BundleError(file, f"{', '.join(moved)} would not run on {provider} but fall back{_why(moved, provider)}")


def _why(moved: Sequence[str], provider: str) -> str:
    """The reason and the remedy, if known."""
    if provider != CUDA_PROVIDER or "GRU" not in moved:
        return ""
    return (
        ". CUDA has no GRU whose reset gate comes before the recurrent product: "
        'for such a bundle set UNROLL_DEVICE=cpu, or train it with cell = "gru"'
    )


def operators_elsewhere(session: Any, provider: str) -> set[str]:
    """The operators of a session that run on another provider than this one."""
    return {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
    }
