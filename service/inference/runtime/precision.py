"""Precision of the graphs: fp32, bf16 or int8, and whether this machine supports it.

fp32  always available; a row's answer does not depend on the rest of its batch
bf16  through onnxruntime's OpenVINO provider, on a CPU with bf16 instructions; for bundles verified in bf16
int8  separate graph files of the bundle, on the CPU; over whole sequences an answer depends slightly on its batch
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from service.bundle.load import Bundle
from service.bundle.manifest import Precision
from service.distribution import install_hint
from service.inference.runtime.device import CPU_PROVIDER, OPENVINO_PROVIDER, Device

#: `auto` is fp32, or bf16 if the bundle was verified in it and this machine runs it faster; never int8.
WantedPrecision = Literal["auto", "fp32", "bf16", "int8"]

CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})


class GraphPlan(NamedTuple):
    """How one graph is opened: from which file, on which device."""

    file: Path
    device: Device


def obstacle(bundle: Bundle, precision: Precision, available: Collection[str], cpu_has_bf16: bool) -> str:
    """Why the bundle cannot be run in `precision` here, and the remedy; "" if it can.

    `available` are the providers of this onnxruntime.
    """
    if precision == "fp32":
        return ""
    if precision == "bf16" and OPENVINO_PROVIDER not in available:
        return f"bf16 needs onnxruntime's OpenVINO provider: {install_hint('openvino')}"
    if precision == "bf16" and not cpu_has_bf16:
        return "bf16 needs a CPU with bf16 instructions (AMX, or AVX-512 BF16); this one has none"
    if precision not in bundle.manifest.variants:
        return f"it has no {precision} form; make and measure one with `unroll export --{precision} {bundle.path}`"
    return ""


def graph_plans(bundle: Bundle, precision: Precision, device: Device, num_lanes: int) -> dict[str, GraphPlan]:
    """How each graph is opened. Graphs that are not part of the variant stay in fp32, on the CPU."""
    plans = {graph: GraphPlan(bundle.graph_path(graph), device) for graph in bundle.manifest.graphs}
    if precision == "fp32":
        return plans
    target = openvino_bf16(num_lanes) if precision == "bf16" else Device(CPU_PROVIDER)
    files = bundle.manifest.variants[precision].graphs
    return plans | {graph: GraphPlan(bundle.path / file, target) for graph, file in files.items()}


def openvino_bf16(num_lanes: int) -> Device:
    """OpenVINO on the CPU in bf16, one thread per run, for `num_lanes` concurrent runs.

    CPU pinning is off: by default OpenVINO pins each stream to a core of its choice, and two sessions were measured to
    share one core of two, at half the speed.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": str(num_lanes),
        "NUM_STREAMS": str(num_lanes),
        "ENABLE_CPU_PINNING": "NO",
    }
    # `load_config` is a JSON object as text here, not the path of a file.
    options = {"device_type": "CPU", "precision": "ACCURACY", "load_config": json.dumps({"CPU": settings})}
    return Device(OPENVINO_PROVIDER, options)


def cpu_has_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the CPU has bf16 instructions: AMX or AVX-512 BF16 on x86, BF16 on Arm."""
    if platform.system() != "Linux":
        return False
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())
