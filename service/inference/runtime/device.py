"""Choice of the onnxruntime execution provider: which one a setting asks for, and whether this machine can run it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from service.distribution import install_hint

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: Needed by onnxruntime's recurrent CUDA kernels. Without it a session opens, and fails at its first run.
CUDNN_LIBRARY = "libcudnn.so.9"

_DEVICE = re.compile(r"auto|cpu|cuda(?::(\d+))?")


class DeviceUnavailable(Exception):
    """A device that was asked for by name is not available; the message says why."""


@dataclass(frozen=True)
class Device:
    """An execution provider with its options. `fallback_reason`: why an existing GPU is not used."""

    provider: str
    options: dict[str, str] = field(default_factory=dict)
    fallback_reason: str = ""


def is_device_name(name: str) -> bool:
    """Whether a name is one that `choose_device` knows."""
    return _DEVICE.fullmatch(name) is not None


def choose_device(
    wanted: str,
    available: Collection[str],
    load_library: Callable[[str], object] = ctypes.CDLL,
    nvidia_driver: Path = NVIDIA_DRIVER,
) -> Device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`, where `available` are the providers of this onnxruntime.

    `auto` takes the GPU if one can be used.

    Raises:
        ValueError: `wanted` is none of these.
        DeviceUnavailable: CUDA was asked for by name, and this runtime or machine cannot run it.
    """
    asked = _DEVICE.fullmatch(wanted)
    if asked is None:
        raise ValueError(f"the device must be auto, cpu, cuda or cuda:N, it is {wanted!r}")
    if wanted == "cpu":
        return Device(CPU_PROVIDER)
    obstacle = _cuda_obstacle(available, load_library)
    if not obstacle:
        return Device(CUDA_PROVIDER, {"device_id": asked[1] or "0"})
    if wanted != "auto":
        raise DeviceUnavailable(f"{wanted} was asked for, but {obstacle}")
    return Device(CPU_PROVIDER, fallback_reason=obstacle if nvidia_driver.exists() else "")


def _cuda_obstacle(available: Collection[str], load_library: Callable[[str], object]) -> str:
    if CUDA_PROVIDER not in available:
        return f"this onnxruntime is built without CUDA: {install_hint('gpu')}"
    try:
        load_library(CUDNN_LIBRARY)
    except OSError as error:
        return f"cuDNN cannot be loaded ({error}): {install_hint('gpu')}"
    return ""
