"""One virtual environment for each peer, created from its pins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.load.places import ENVIRONMENTS, LOGS, PINS

_INSTALL_LIMIT_S = 900


def names() -> list[str]:
    """Return every environment that a peer requires."""
    return sorted(file.stem for file in PINS.glob("*.txt"))


def python_of(name: str) -> Path:
    """Return the interpreter of one environment. Raises FileNotFoundError, with the reason, if it is not installed."""
    if not _stamp(name).is_file():
        raise FileNotFoundError(f"not installed: {_reason(name)}")
    return ENVIRONMENTS / name / "bin" / "python"


def install(name: str) -> bool:
    """Create the environment unless it exists with the same pins; return whether it exists."""
    stamp = _stamp(name)
    if stamp.is_file():
        return True
    folder = ENVIRONMENTS / name
    shutil.rmtree(folder, ignore_errors=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q"]
    commands = [[sys.executable, "-m", "venv", str(folder)], [*pip, "-r", str(PINS / f"{name}.txt")]]
    with _log(name).open("w", encoding="utf-8") as log:
        done = all(
            subprocess.run(command, stdout=log, stderr=log, timeout=_INSTALL_LIMIT_S, check=False).returncode == 0
            for command in commands
        )
    if done:
        stamp.touch()
    return done


def _stamp(name: str) -> Path:
    digest = hashlib.sha256((PINS / f"{name}.txt").read_bytes()).hexdigest()[:12]
    return ENVIRONMENTS / name / f".installed-{digest}"


def _log(name: str) -> Path:
    return LOGS / f"install-{name}.log"


def _reason(name: str) -> str:
    try:
        lines = _log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:200] if lines else "run `make bench-env`"
