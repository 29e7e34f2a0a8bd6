"""What a run is computed on and with: the things beside the recipe that decide whether it repeats to the bit."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy")


def hardware(threads: int = 0) -> str:
    """The machine, in words; `threads` as in a recipe, where 0 is torch's own choice."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {threads or torch.get_num_threads()} threads)"


def library_versions() -> dict[str, str]:
    """Python and the libraries that compute."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@contextmanager
def torch_settings(threads: int, deterministic: bool) -> Iterator[None]:
    """Torch's threads (0 leaves them) and kernels as a recipe asks for them; afterwards as they were.

    Deterministic kernels repeat to the bit on a GPU too. Where an operation has none, torch raises and names it.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # cuBLAS reads this when it starts; recurrent layers need it to repeat.
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
