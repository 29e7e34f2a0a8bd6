"""Environment of a run: hardware, library versions and torch settings, which decide whether it repeats to the bit."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy")


def hardware(threads: int = 0) -> str:
    """The machine in words; `threads` as in a recipe, where 0 is torch's default."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {threads or torch.get_num_threads()} threads)"


def library_versions() -> dict[str, str]:
    """Versions of Python and the numerical libraries."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@contextmanager
def torch_settings(threads: int, deterministic: bool) -> Iterator[None]:
    """Set torch's threads (0 keeps them) and deterministic kernels inside; restores them afterwards.

    Torch raises for an operation without a deterministic kernel.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # cuBLAS reads this when it starts; deterministic recurrent layers need it.
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = before[2]
