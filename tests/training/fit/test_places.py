"""Folders are checked before hours of training, and what the machine refuses is said in a sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from training.fit import places
from training.fit.places import PlaceFault, check_room, check_writable, refusal


def test_a_folder_that_can_be_written_to_passes(tmp_path: Path) -> None:
    """An existing folder passes, and one that is yet to be made under it; nothing is left behind."""
    for folder in (tmp_path, tmp_path / "runs" / "mine"):
        check_writable(folder, "--runs")
        check_room(folder, 1, "--runs")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """Where a folder should be, or above it, a file is refused with the option that names another folder."""
    (tmp_path / "runs").write_text("", encoding="utf-8")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "mine"):
        with pytest.raises(PlaceFault, match=r"runs is a file, not a folder; --runs names another one"):
            check_writable(folder, "--runs")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_refuses_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system, missing rights and a full disk are found by trying."""

    def refusing(**_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(places.tempfile, "NamedTemporaryFile", refusing)
    with pytest.raises(PlaceFault, match=rf"models: cannot be written to .*{os.strerror(number).lower()}.*--models"):
        check_writable(tmp_path / "models", "--models")


def test_too_little_room_is_told_in_figures(tmp_path: Path) -> None:
    """What is free and what is needed stand in the message."""
    with pytest.raises(PlaceFault, match=r"MB are free there, but about 1,000,000,000,000\.0 MB are needed.*--runs"):
        check_room(tmp_path / "runs", 10**18, "--runs")


def test_refusals_are_sentences() -> None:
    """A full disk and missing rights are told with the file."""
    full = OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")
    assert refusal(full).startswith("runs/x/metrics.jsonl: the disk is full")
    assert "permission denied" in refusal(OSError(errno.EACCES, "Permission denied", "models"))
