"""The allowed reasons for skipping a test; any other reason fails `make test` and CI.

A skip reason is one of these texts, optionally with details: `pytest.skip(f"{NO_GPU}: {error}")`.
"""

from __future__ import annotations

NO_GPU = "no NVIDIA GPU that this onnxruntime can use"
NO_BF16 = "the CPU has no bf16 instructions"
NO_DATA = "UNROLL_DATA_DIR is not set, or its folder lacks this data set"
NOT_ROOT = "only root can do this"
OTHER_SYSTEM = "not on this operating system"
NO_REPOSITORY = "the sources are not a git repository"
NO_NAMESPACES = "the machine allows no network namespaces"
OTHER_RUNTIME = "this build of onnxruntime has what the test must not find"
NO_RAY = "Ray is not installed: `make ray-env` installs it"
NO_SPARK = "PySpark or Java is not installed: `make spark-env` installs the former"

ALLOWED = (
    NO_GPU,
    NO_BF16,
    NO_DATA,
    NOT_ROOT,
    OTHER_SYSTEM,
    NO_REPOSITORY,
    NO_NAMESPACES,
    OTHER_RUNTIME,
    NO_RAY,
    NO_SPARK,
)


def is_allowed(reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    return reason in ALLOWED or reason.startswith(tuple(f"{allowed}: " for allowed in ALLOWED))
