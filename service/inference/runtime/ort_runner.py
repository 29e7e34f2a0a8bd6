"""Runs the graphs of a bundle in onnxruntime; no other module imports it.

Inputs are checked before every run, because onnxruntime does not: an empty batch crashes the process inside its LSTM,
and an id of -1 silently reads the last row of an embedding.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

# Must be set before the import: the official builds of onnxruntime send usage telemetry otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from service.bundle.hidden_output import without_hidden
from service.bundle.load import WEIGHTS_FILE, Bundle
from service.bundle.manifest import GraphSpec, Precision
from service.errors import BundleCorrupt, BundleError, InferenceFailed
from service.inference.runtime.cpu_quota import usable_cores
from service.inference.runtime.device import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    OPENVINO_PROVIDER,
    Device,
    DeviceUnavailable,
    choose_device,
)
from service.inference.runtime.feed_check import FeedCheck, id_limits
from service.inference.runtime.graph_check import check_placement, check_tensors
from service.inference.runtime.mapped_graphs import DATA_FILE, GRAPH_FILE, MakeFiles, MappedGraph, MappedGraphs
from service.inference.runtime.precision import GraphPlan, WantedPrecision, cpu_has_bf16, graph_plans, obstacle
from service.tasks.core.task import Array

logger = logging.getLogger(__name__)

#: The prepared file of a graph, from what is in the bundle and how to prepare it; None: there is none.
Hold = Callable[[bytes, bytes, MakeFiles], Path | None]


#: A run with feeds of this size (a token id has 8 bytes) returns its memory when it ends: the arena would keep what the
#: largest run took for good, kilobytes for each step.
_LARGE_FEEDS_BYTES = 64 * 1024


class _OpenGraph(NamedTuple):
    """A graph that is ready to run."""

    session: Any
    check: FeedCheck
    outputs: list[str]
    all_outputs: list[str]


class OrtRunner:
    """The graphs of one bundle, open on one execution provider. Thread-safe and stateless between runs."""

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        threads: int = 1,
        precision: Precision = "fp32",
        num_lanes: int = 1,
        mapped: MappedGraphs | None = None,
    ) -> None:
        """Open every graph.

        Args:
            device: auto, cpu, cuda or cuda:N. `auto` takes the GPU if one can run the graphs, and the CPU otherwise;
                `provider` says which, and `fallback_reason` why not the GPU.
            threads: CPU threads of one run, 0 for all that the quota allows. Several single-threaded runs at the same
                time use more of the machine than threads inside one run.
            precision: fp32, bf16 or int8; the last two run on the CPU only.
            num_lanes: how many threads will call `run` at the same time.
            mapped: files that other processes map as well, for weights on the CPU; None: a copy of them.

        Raises:
            BundleCorrupt: a graph cannot be read, or differs from the manifest.
            BundleError: the graphs cannot run on `device` or in `precision`; with the reason.
        """
        self._bundle = bundle
        self._threads = threads or usable_cores()
        self._num_lanes = num_lanes
        #: The number of valid ids of each input of token ids.
        self.id_limits = id_limits(bundle)
        self.precision: Precision = precision
        #: Why the graphs are not on the GPU although there is one and `device` is auto; "" otherwise.
        self.fallback_reason = ""
        self._mapped = mapped
        self._held: list[MappedGraph] = []
        self._shrinking: ort.RunOptions | None = None
        weakref.finalize(self, _release, self._held)
        self._open(device)

    def _open(self, wanted: str) -> None:
        device = _device_for(self._bundle, wanted, self.precision)
        try:
            self._graphs = self._open_on(device)
        except BundleError as error:
            if wanted != "auto" or device.provider == CPU_PROVIDER:
                raise
            device = Device(CPU_PROVIDER, fallback_reason=error.message)
            self._graphs = self._open_on(device)
        self._shrinking = _shrinking_options() if device.provider == CPU_PROVIDER else None
        self.fallback_reason = device.fallback_reason
        if device.fallback_reason:
            logger.warning("falling back from the GPU to the CPU", extra={"reason": device.fallback_reason})

    def _open_on(self, device: Device) -> dict[str, _OpenGraph]:
        specs = self._bundle.manifest.graphs
        plans = graph_plans(self._bundle, self.precision, device, self._num_lanes)
        weights = self._bundle.shared_weights()
        return {
            graph: _OpenGraph(
                _open_session(plan, specs[graph], self._threads, weights, self._hold),
                FeedCheck(graph, specs[graph], id_limits(self._bundle, graph)),
                [output.name for output in without_hidden(specs[graph]).outputs],
                [output.name for output in specs[graph].outputs],
            )
            for graph, plan in plans.items()
        }

    def _hold(self, content: bytes, weights: bytes, make: MakeFiles) -> Path | None:
        """The file of a graph that other workers map too, for as long as this runner lives; None: there is none."""
        held = self._mapped and self._mapped.hold(content, weights, ort.__version__, make)
        if not held:
            return None
        self._held.append(held)
        return held.file

    @cached_property
    def provider(self) -> str:
        """The execution provider of the graphs; if they differ, the one that is not the plain CPU provider."""
        return next((name for name in self.providers if name != CPU_PROVIDER), CPU_PROVIDER)

    @property
    def providers(self) -> tuple[str, ...]:
        """The distinct preferred providers of the graphs' sessions."""
        return tuple(dict.fromkeys(graph.session.get_providers()[0] for graph in self._graphs.values()))

    def problem(self, graph: str, feeds: Mapping[str, Array]) -> str | None:
        """Why `run` would refuse these inputs, as a sentence for whoever made them; None if it would not."""
        return self._graphs[graph].check.problem(feeds)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once, with all inputs by name; returns its outputs by name, but for hidden states.

        Raises:
            InferenceFailed: a feed breaks the graph's contract, or onnxruntime refuses or fails.
        """
        return self._run(graph, feeds, self._graphs[graph].outputs)

    def run_with_hidden(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`run`, with the hidden states of the graph as well."""
        return self._run(graph, feeds, self._graphs[graph].all_outputs)

    def _run(self, graph: str, feeds: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
        opened = self._graphs[graph]
        opened.check(feeds)
        options = self._shrinking if sum([feed.nbytes for feed in feeds.values()]) >= _LARGE_FEEDS_BYTES else None
        try:
            outputs = opened.session.run(names, dict(feeds), options)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise InferenceFailed(f"graph {graph!r} failed: {_first_line(error)}") from error
        return dict(zip(names, outputs, strict=True))


def available_providers() -> list[str]:
    """The execution providers that the installed onnxruntime is built with, the fastest first."""
    return list(ort.get_available_providers())


def runtime_version() -> str:
    """The version of the installed onnxruntime."""
    return str(ort.__version__)


def can_run(bundle: Bundle, precision: Precision) -> bool:
    """Whether the bundle was verified in `precision`, and this machine and onnxruntime support it."""
    return not obstacle(bundle, precision, available_providers(), cpu_has_bf16())


def survives_fork(device: str, precision: WantedPrecision) -> bool:
    """Whether sessions for this device and precision still work in a process that is forked from this one.

    They do on the plain CPU provider. CUDA cannot be used after a fork, and OpenVINO has threads, which a fork loses.
    """
    available = available_providers()
    may_use_gpu = device != "cpu" and CUDA_PROVIDER in available
    may_use_openvino = precision in ("auto", "bf16") and OPENVINO_PROVIDER in available and cpu_has_bf16()
    return not device.startswith("cuda") and precision != "bf16" and not may_use_gpu and not may_use_openvino


def _device_for(bundle: Bundle, wanted: str, precision: Precision) -> Device:
    """The device to open on. Raises BundleError if it, or the precision, is not available."""
    available = available_providers()
    reason = obstacle(bundle, precision, available, cpu_has_bf16())
    if reason:
        raise BundleError(bundle.path, reason)
    if precision != "fp32":
        if wanted.startswith("cuda"):
            raise BundleError(bundle.path, f"{precision} runs on the CPU, but the device asked for is {wanted}")
        return Device(CPU_PROVIDER)
    try:
        return _find_device(wanted)
    except DeviceUnavailable as error:
        raise BundleError(bundle.path, str(error)) from error


def _find_device(wanted: str) -> Device:
    available = available_providers()
    if CUDA_PROVIDER in available and wanted != "cpu":
        ort.preload_dlls()  # CUDA and cuDNN from Python packages, if the system has none
    return choose_device(wanted, available)


def default_lanes(device: str) -> int:
    """The number of concurrent runs that suits a device: one per usable core of a CPU, one on a GPU."""
    try:
        found = _find_device(device)
    except DeviceUnavailable:  # opening the bundles will say so
        return usable_cores()
    return 1 if found.provider == CUDA_PROVIDER else usable_cores()


def _open_session(plan: GraphPlan, spec: GraphSpec, threads: int, weights: bytes, hold: Hold) -> Any:
    provider = plan.device.provider
    providers = [(provider, plan.device.options)]
    if provider != CPU_PROVIDER:
        providers.append((CPU_PROVIDER, {}))
    session = _open_mapped(plan.file, threads, weights, hold) if provider == CPU_PROVIDER else None
    if session is None:
        try:
            session = ort.InferenceSession(str(plan.file), _options_with(weights, threads), providers=providers)
        except Exception as error:
            raise BundleCorrupt(plan.file, f"not a graph that onnxruntime can open: {_first_line(error)}") from error
    check_tensors(plan.file, session, spec)
    check_placement(plan.file, session, provider)
    return session


def _open_mapped(file: Path, threads: int, weights: bytes, hold: Hold) -> Any | None:
    """A session whose weights are pages of a file that other workers map too; None if that cannot be."""
    try:
        content = file.read_bytes()
        prepared = hold(content, weights, lambda folder: _prepare(content, threads, weights, folder))
        if prepared is None:
            return None
        return ort.InferenceSession(str(prepared), session_options(threads), providers=[CPU_PROVIDER])
    except Exception as error:  # no memory left in the folder, or a graph that is none: opening it itself will tell
        logger.warning("a graph is not shared with other workers", extra={"path": file, "reason": _first_line(error)})
        return None


def _prepare(content: bytes, threads: int, weights: bytes, folder: Path) -> None:
    """Write a graph as it is run: optimised, with its weights in single precision and packed for the kernels."""
    options = _options_with(weights, threads)
    options.optimized_model_filepath = str(folder / GRAPH_FILE)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", DATA_FILE)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    ort.InferenceSession(content, options, providers=[CPU_PROVIDER])


def _options_with(weights: bytes, threads: int) -> ort.SessionOptions:
    options = session_options(threads)
    if weights:
        # By default onnxruntime maps the file into memory, and overwriting it would then crash the process.
        options.add_external_initializers_from_files_in_memory([WEIGHTS_FILE], [weights], [len(weights)])
    return options


def _release(held: list[MappedGraph]) -> None:
    for graph in held:
        graph.release()


def session_options(threads: int) -> ort.SessionOptions:
    """Session options for many small runs in a container: no spinning, no memory plan per input shape (it only grows).

    Measured over sixty shapes of a tagger and the steps of a language model, these have no effect on speed: memory
    arena, memory plan, and flushing denormal numbers to zero.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Products of int8 saturate on x86 CPUs without VNNI instructions, and scores then differ by more than 1; with this
    # onnxruntime takes a slower, exact product there. It changes nothing on other CPUs, nor in fp32.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _shrinking_options() -> ort.RunOptions:
    """Options of a run after which the arena keeps no more than it began with."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
