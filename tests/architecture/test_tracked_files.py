"""No file in the repository refers to a machine-specific path or to a package registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.allowed_skips import NO_REPOSITORY

ROOT = Path(__file__).parents[2]

#: Split in two, so that this file does not match its own pattern.
HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "crates" + ".io",
    "debian" + ".org",
]
FOLDERS = ["/home" + r"/\w+/", "/Users" + r"/\w+/", "/root" + "/", "/work" + "/", "/tmp" + "/"]
NOT_PORTABLE = re.compile("|".join([*(re.escape(host) for host in HOSTS), *FOLDERS]))

#: Data and model files rather than hand-written text.
NOT_WRITTEN = {".bin", ".npy", ".onnx", ".png", ".safetensors", ".jsonl"}


def written_files() -> list[Path]:
    """Return the text files that are tracked or about to be; skip the test outside a repository."""
    if not (ROOT / ".git").exists():
        pytest.skip(NO_REPOSITORY)
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout.decode().split("\0")
    paths = [ROOT / name for name in names if name]
    return [
        path
        for path in paths
        if path.is_file() and path.suffix not in NOT_WRITTEN and not path.name.startswith("tokenizer")
    ]


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    paths = written_files()
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := NOT_PORTABLE.search(line))
    ]
    assert paths
    assert not found
