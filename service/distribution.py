"""The distribution `unroll-rnn`: its installed version, and the command that installs one of its extras."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

DISTRIBUTION = "unroll-rnn"

_ROOT = Path(__file__).parents[1]
#: Targets of the Makefile that install an extra into the environment of a checkout, with locked versions.
_MAKE_TARGETS = {
    "cpu": "make serve-env RUNTIME=cpu",
    "gpu": "make serve-env RUNTIME=gpu",
    "openvino": "make serve-env RUNTIME=openvino",
    "grpc": "make serve-env",
    "redis": "make serve-env",
    "tracing": "make serve-env",
    "training": "make train-env",
}


def installed_version() -> str:
    """The version that is installed, "0" in a source tree that is not."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0"


def install_hint(extra: str, root: Path = _ROOT) -> str:
    """The command that installs an extra: by name for an installed package, in place for a checkout at `root`.

    By name, pip adds to an installed package what the extra lacks, and fetches no other version of the package.
    """
    if not (root / "pyproject.toml").is_file():
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    return _MAKE_TARGETS.get(extra, f"pip install -e '.[{extra}]'")
