"""Read text files as lines: the only place that handles gzip, byte-order marks, line ends and encodings."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from training.data.formats.faults import Report
from training.data.formats.foreign_files import foreign_kind

_GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 2**18


def read_lines(path: Path, report: Report, encoding: str | None = None) -> list[str]:
    """Read the lines of a text file, without line ends (LF, CR LF, or CR alone). No other character ends a line.

    The encoding is UTF-8 unless another one is named. A byte-order mark is dropped. In a tolerant report a line that
    is not UTF-8 is kept with U+FFFD in place of the bad bytes, so that line numbers and line-aligned files stay in
    step.
    """
    lines = _decoded_lines(_read_bytes(path, report), path, report, encoding)
    return lines[:-1] if lines and lines[-1] == "" else lines


def read_text(path: Path, report: Report, encoding: str | None = None) -> str:
    """Read a file as one text with LF between lines; no line end is added."""
    return "\n".join(_decoded_lines(_read_bytes(path, report), path, report, encoding))


def read_head(path: Path, encoding: str | None = None) -> list[str]:
    """The first lines of a file, to recognise its format; a line that is cut is left out.

    Raises:
        DataFault: the file holds no text.
    """
    report = Report(strict=False)
    data = _read_bytes(path, report, _HEAD_BYTES)
    lines = _decoded_lines(data, path, report, encoding)
    whole_file_faults = [fault for fault in report.faults if fault.line is None]
    if whole_file_faults:
        raise whole_file_faults[0]
    return lines[:-1] if len(data) >= _HEAD_BYTES and len(lines) > 1 else lines


def _decoded_lines(data: bytes, path: Path, report: Report, encoding: str | None) -> list[str]:
    """Lines between line ends; the last one is empty if the file ends with a line end."""
    if encoding is not None:
        return _decoded_as(data, path, report, encoding)
    foreign = foreign_kind(data)
    if foreign is not None:
        report.fault(path, None, f"the file is {foreign.what}", foreign.remedy)
        return []
    has_mark = data.startswith(codecs.BOM_UTF8)
    report.facts(path)["encoding"] = "UTF-8 with a byte-order mark" if has_mark else "UTF-8"
    data = data.removeprefix(codecs.BOM_UTF8)
    chunks = data.split(b"\n")
    if len(chunks) == 1 and data.count(b"\r") > 1:
        report.facts(path)["line ends"] = "CR"
        chunks = data.split(b"\r")
    return [_decode(chunk.removesuffix(b"\r"), path, number, report) for number, chunk in enumerate(chunks, start=1)]


def _decoded_as(data: bytes, path: Path, report: Report, encoding: str) -> list[str]:
    report.facts(path)["encoding"] = encoding
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        report.fault(path, line, f"byte {error.start + 1} of the file is not {encoding}", "name its encoding")
        text = data.decode(encoding, errors="replace")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return text.split("\n") if "\n" in text else text.split("\r")


def _read_bytes(path: Path, report: Report, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not is_packed:
                return file.read(limit)
            report.facts(path)["compression"] = "gzip"
            with gzip.open(file) as unpacked:
                return unpacked.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged gzip file ({error})"
        report.fault(path, None, f"cannot be read: {reason}")
        return b""


def _decode(chunk: bytes, path: Path, number: int, report: Report) -> str:
    try:
        line = chunk.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = chunk[error.start]
        report.fault(path, number, f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8", _remedy(byte))
        return chunk.decode("utf-8", errors="replace")
    if "\0" in line:
        report.fault(path, number, f"character {line.index(chr(0)) + 1} of the line is NUL (U+0000)", "remove it")
        return line.replace("\0", "\ufffd")
    if line.startswith("\ufeff"):
        report.warn(path, number, "a byte-order mark inside the file, as joined files have; it is dropped")
        return line.removeprefix("\ufeff")
    return line


def _remedy(byte: int) -> str:
    """What to do about a byte that is not UTF-8, with the character that it is on most Windows machines."""
    letter = bytes([byte]).decode("cp1252", errors="replace")
    shown = f" (cp1252 reads the byte as {letter!r})" if letter.isalnum() or letter in "’‘“”–—…€£" else ""
    return f"save the file as UTF-8, or name its encoding, such as --column encoding=cp1252{shown}"
