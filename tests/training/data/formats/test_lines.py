"""Encodings and files that are no text: each is read, or refused in one sentence that says what it is."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines
from training.data.formats.options import ReadOptions
from training.data.read import read_located, read_records
from training.data.records import LabelledText, Passage

ROWS = "text\tlabel\ncafé\ta\nthé\tb\n"
READ = [LabelledText("café", "a"), LabelledText("thé", "b")]


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def zipped(member: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(member, "x")
    return data.getvalue()


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return data.getvalue()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    """UTF-16 and UTF-32 are recognised with and without a byte-order mark, and read where they are named."""
    path = write(tmp_path, "a.tsv", ROWS.encode(encoding))
    with pytest.raises(DataFault) as caught:
        read_records("classification", path)
    name = encoding[:6].upper()
    assert caught.value.what == f"the file is {name} text"
    assert caught.value.allowed.rpartition("=")[2].startswith(encoding[:6])
    assert read_records("classification", path, ReadOptions(encoding=encoding)) == READ


def test_running_text_in_utf16_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", ("hello there\n" * 20).encode("utf-16-le"))
    with pytest.raises(DataFault, match="UTF-16"):
        read_records("generation", path)


@pytest.mark.parametrize("text", ["Привет мир это текст\n", "你好世界\n今天天气\n", "Γειά σου Κόσμε\n"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_other_alphabets_in_utf16_are_named(text: str, encoding: str, tmp_path: Path) -> None:
    """Without a byte-order mark, and without the zeros that each letter of English has."""
    path = write(tmp_path, "a.txt", text.encode(encoding))
    with pytest.raises(DataFault, match=f"UTF-16 text.*encoding={encoding}"):
        read_lines(path, Report())


def test_a_stray_zero_does_not_make_utf16(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"some text here\0\nmore\0 text\n")
    with pytest.raises(DataFault, match="NUL"):
        read_lines(path, Report())


def test_another_encoding_is_suggested_and_can_be_named(tmp_path: Path) -> None:
    """A byte of Windows-1252 is shown as the letter it is there."""
    path = write(tmp_path, "a.tsv", ROWS.encode("cp1252"))
    with pytest.raises(DataFault, match=r"encoding=cp1252 .*'é'"):
        read_records("classification", path)
    assert read_records("classification", path, ReadOptions(encoding="windows-1252")) == READ


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped("xl/workbook.xml"), "an Excel workbook"),
        (zipped("word/document.xml"), "a word processor's document"),
        (zipped("a.csv"), "a zip archive"),
        (tarred(), "a tar archive"),
        (b"PAR1" + bytes(50), "a Parquet file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "an old Excel or Word file"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"BZh91AY&SY", "packed by bzip2"),
        (b"\x80\x04\x95\x00", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("task", ["classification", "tagging", "generation"])
def test_other_files_are_refused_by_what_they_are(content: bytes, what: str, task: str, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=what):
        read_records(task, write(tmp_path, "a.csv" if task == "classification" else "a.txt", content))  # type: ignore[arg-type]


@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<p>Sign in", "\n<html><head>", "<!-- x --><HTML>"])
def test_a_web_page_is_no_table(page: str, tmp_path: Path) -> None:
    """A download that was answered by a login page is named; running text may be HTML, with a warning."""
    path = write(tmp_path, "a.csv", page.encode())
    with pytest.raises(DataFault, match="web page"):
        read_records("classification", path)
    report = Report()
    read_located("generation", write(tmp_path, "a.txt", page.encode()), None, report)
    assert ["web page" in str(warning) for warning in report.warnings] == [True]


def test_a_table_read_as_running_text_is_doubted(tmp_path: Path) -> None:
    """Every file can be running text; one called .csv is warned of, unless the format is given."""
    path = write(tmp_path, "a.csv", b"text,label\nhi,a\n")
    report = Report()
    read_located("generation", path, None, report)
    assert ["--format csv" in str(warning) for warning in report.warnings] == [True]
    report = Report()
    read_located("generation", path, ReadOptions(format="text"), report)
    assert report.warnings == []


def test_zero_bytes_and_marks_inside_are_told(tmp_path: Path) -> None:
    """NUL is a fault of its line; a byte-order mark of a joined file is dropped with a warning."""
    report = Report(strict=False)
    lines = read_lines(write(tmp_path, "a.txt", b"one\nt\0wo\n\xef\xbb\xbfthree\n"), report)
    assert lines == ["one", "t\ufffdwo", "three"]
    assert [fault.line for fault in report.faults] == [2]
    assert [warning.line for warning in report.warnings] == [3]


def test_line_ends_of_old_machines(tmp_path: Path) -> None:
    """CR alone ends lines where there is no LF, and is stated; one CR in a line is a character."""
    report = Report()
    path = write(tmp_path, "a.txt", b"one\rtwo\r")
    assert read_lines(path, report) == ["one", "two"]
    assert report.understood[str(path)]["line ends"] == "CR"
    assert read_records("generation", write(tmp_path, "b.txt", b"one\rtwo\nthree")) == [Passage("one\rtwo\nthree")]


def test_a_treebank_is_no_table(tmp_path: Path) -> None:
    """CoNLL-U has ten columns, none of which is a translation."""
    path = write(tmp_path, "a.conllu", b"# text = Go\n1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n")
    with pytest.raises(DataFault, match="CoNLL-U"):
        read_records("translation", path)
