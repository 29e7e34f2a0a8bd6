"""Finds the programs that tests start: in the test environment, on PATH, or in Debian's sbin folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def find_program(*names: str) -> str:
    """The path of the first installed program; skips the test if none is installed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = [program for name in names if (program := shutil.which(name, path=path))]
    if not found:
        pytest.skip(f"{' or '.join(names)} is not installed: run `make test-system`")
    return found[0]
