"""Runs a bundle's graphs in onnxruntime: the only place that imports it.

Every feed is checked before a graph sees it, because onnxruntime does not: an empty batch ends the process inside its
LSTM, and an id of -1 silently reads the last row of an embedding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

# The official builds of onnxruntime report usage to their maker, unless told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, TensorSpec
from service.errors import BundleCorrupt, InferenceFailed
from service.inference.cpu_quota import usable_cores
from service.inference.feed_check import check_feeds, id_limits
from service.tasks.base import Array

logger = logging.getLogger(__name__)

Provider = Literal["auto", "cpu", "cuda"]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
RECURRENT_OPERATORS = frozenset({"LSTM", "GRU", "RNN"})

_NUMPY_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32"}


class OrtRunner:
    """The graphs of one bundle, open on one execution provider. Thread-safe; keeps nothing between runs."""

    def __init__(self, bundle: Bundle, provider: Provider = "auto", threads: int = 0) -> None:
        """Open every graph. `threads` is the number of CPU threads of one run, 0 for all that the quota allows.

        "auto" takes the GPU where there is one that can run the graphs, and the CPU otherwise; `provider` says which.

        Raises:
            BundleCorrupt: a graph cannot be read, differs from the manifest, or would not run on `provider`.
        """
        self._specs = bundle.manifest.graphs
        #: For each input of token ids the number of ids that exist.
        self.id_limits = id_limits(bundle)
        self.provider = choose_provider(provider, ort.get_available_providers(), bundle.path)
        threads = threads or usable_cores()
        try:
            self._sessions = _open_graphs(bundle, self.provider, threads)
        except BundleCorrupt as error:
            if provider != "auto" or self.provider == CPU_PROVIDER:
                raise
            logger.warning("not on the GPU, but on the CPU", extra={"reason": str(error)})
            self.provider = CPU_PROVIDER
            self._sessions = _open_graphs(bundle, self.provider, threads)

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that the sessions really have, first the preferred one."""
        return tuple(next(iter(self._sessions.values())).get_providers())

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once: every input by name in, every output by name out.

        Raises:
            InferenceFailed: a feed breaks the graph's contract, or onnxruntime refuses or fails.
        """
        spec = self._specs[graph]
        check_feeds(graph, spec, feeds, self.id_limits)
        names = [output.name for output in spec.outputs]
        try:
            outputs = self._sessions[graph].run(names, dict(feeds))
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise InferenceFailed(f"graph {graph!r} failed: {_first_line(error)}") from error
        return dict(zip(names, outputs, strict=True))


def _open_graphs(bundle: Bundle, provider: str, threads: int) -> dict[str, ort.InferenceSession]:
    graphs = bundle.manifest.graphs
    return {graph: _open_graph(bundle.graph_path(graph), spec, provider, threads) for graph, spec in graphs.items()}


def choose_provider(wanted: Provider, available: list[str], path: Path) -> str:
    """The onnxruntime provider for what the settings ask; "auto" takes CUDA where the runtime has it."""
    if wanted == "cpu" or (wanted == "auto" and CUDA_PROVIDER not in available):
        return CPU_PROVIDER
    if CUDA_PROVIDER not in available:
        raise BundleCorrupt(path, "CUDA was asked for, but this onnxruntime is built without it; install unroll[gpu]")
    return CUDA_PROVIDER


def _session_options(threads: int) -> ort.SessionOptions:
    """Options for many small runs in a container: no spinning, and no memory plan per input shape (it only grows)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _open_graph(file: Path, spec: GraphSpec, provider: str, threads: int) -> ort.InferenceSession:
    providers = [provider] if provider == CPU_PROVIDER else [provider, CPU_PROVIDER]
    try:
        session = ort.InferenceSession(str(file), _session_options(threads), providers=providers)
    except Exception as error:
        raise BundleCorrupt(file, f"not a graph that onnxruntime can open: {_first_line(error)}") from error
    _check_tensors(file, "input", spec.inputs, session.get_inputs())
    _check_tensors(file, "output", spec.outputs, session.get_outputs())
    check_placement(file, session, provider)
    return session


def _check_tensors(file: Path, kind: str, specs: tuple[TensorSpec, ...], found: list[Any]) -> None:
    """The graph must have exactly the tensors of the manifest: same names, types and ranks."""
    declared = {spec.name: (spec.dtype, len(spec.shape)) for spec in specs}
    actual = {node.name: (_NUMPY_DTYPES.get(node.type, node.type), len(node.shape)) for node in found}
    for name in sorted(declared.keys() | actual.keys()):
        if declared.get(name) != actual.get(name):
            promised, real = _tensor(declared, name), _tensor(actual, name)
            raise BundleCorrupt(file, f"{kind} {name!r}: {promised} in the manifest, {real} in the graph")


def _tensor(tensors: Mapping[str, tuple[str, int]], name: str) -> str:
    return "{} with {} axes".format(*tensors[name]) if name in tensors else "absent"


def check_placement(file: Path, session: Any, provider: str) -> None:
    """Refuse a session whose recurrent nodes are not on `provider`: onnxruntime moves them to the CPU silently.

    Raises:
        BundleCorrupt: naming the provider that is missing, or the operators that were moved.
    """
    if session.get_providers()[0] != provider:
        raise BundleCorrupt(file, f"{provider} could not be started (is the driver or cuDNN missing?)")
    moved = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
        if node.op_type in RECURRENT_OPERATORS
    }
    if moved:
        raise BundleCorrupt(file, f"{', '.join(sorted(moved))} would not run on {provider} but fall back")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
