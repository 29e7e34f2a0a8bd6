"""Digests of all that is read for a training: files, folders, and files that an index names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from training.data.digests import changed_names, file_digests


def sounds(folder: Path) -> Path:
    for label in ("a", "b"):
        (folder / label / "deep").mkdir(parents=True)
        (folder / label / "1.wav").write_bytes(label.encode())
        (folder / label / "deep" / "2.WAV").write_bytes(label.encode() * 2)
    (folder / ".hidden").write_text("x", encoding="utf-8")
    return folder


@pytest.mark.parametrize("change", ["exchange", "edit", "add", "remove", "rename"])
def test_a_changed_tree_of_files_has_another_digest(change: str, tmp_path: Path) -> None:
    """Files that changed places, content or name are noticed at any depth; hidden ones do not matter."""
    folder = sounds(tmp_path / "sounds")
    before = file_digests("train", folder, True)
    assert list(before) == ["train/sounds/ (4 files)"]
    (folder / ".DS_Store").write_text("x", encoding="utf-8")
    assert file_digests("train", folder, True) == before
    one, other = folder / "a" / "1.wav", folder / "b" / "deep" / "2.WAV"
    match change:
        case "exchange":
            one.write_bytes(b"bb")
            other.write_bytes(b"a")
        case "edit":
            other.write_bytes(b"bc")
        case "add":
            (folder / "a" / "3.wav").write_bytes(b"")
        case "remove":
            one.unlink()
        case _:
            one.rename(one.with_name("0.wav"))
    assert changed_names(before, file_digests("train", folder, True))


@pytest.mark.parametrize("where", ["beside", "archive", "second archive"])
def test_files_that_an_index_names_are_read_too(where: str, tmp_path: Path) -> None:
    """A sound or picture behind an unchanged index is noticed, be it a file or in an archive."""
    index = tmp_path / "index.csv"
    index.write_text("file,label\nx/1.wav,a\nx/2.wav,b\n", encoding="utf-8")

    def write(content: str) -> None:
        if where == "beside":
            (tmp_path / "x").mkdir(exist_ok=True)
            (tmp_path / "x" / "2.wav").write_text(content, encoding="utf-8")
            return
        name = "index.zip" if where == "archive" else "index_2.zip"
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x/2.wav", content)

    write("old")
    before = file_digests("train", index, True)
    write("new")
    changed = changed_names(before, file_digests("train", index, True))
    assert len(changed) == 1
    assert changed != ["train/index.csv"]


def test_a_table_of_texts_names_no_files(tmp_path: Path) -> None:
    """A text that happens to be the name of a file is a text."""
    (tmp_path / "hello").write_text("x", encoding="utf-8")
    (tmp_path / "a.csv").write_text("text,label\nhello,a\n", encoding="utf-8")
    assert list(file_digests("train", tmp_path / "a.csv", False)) == ["train/a.csv"]


def test_labels_beside_a_table_of_frames_are_read_too(tmp_path: Path) -> None:
    """`NAME_targets.csv` beside `NAME_sequences.csv` has a digest."""
    for name in ("a_sequences.csv", "a_targets.csv"):
        (tmp_path / name).write_text("sequence,x\n1,2\n", encoding="utf-8")
    assert len(file_digests("train", tmp_path / "a_sequences.csv", True)) == 2


def test_what_older_versions_did_not_record_is_no_change() -> None:
    """A run of an older version goes on: its digests of files are compared, and no others."""
    old = {"train/a.csv": "1"}
    now = {**old, "train/a.csv: 9 files named in it": "2", "dev/rows chosen from train": "3"}
    assert changed_names(old, now) == []
    assert changed_names(now, old) == sorted(now.keys() - old.keys())
    assert changed_names({"train/x/ (3 files)": "1"}, {"train/x/ (4 files)": "1"}) == [
        "train/x/ (3 files)",
        "train/x/ (4 files)",
    ]
