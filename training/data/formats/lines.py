"""Read text files as lines: the only place that handles gzip, byte-order marks, line ends and wrong encodings."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from training.data.formats.faults import Report

_GZIP_MAGIC = b"\x1f\x8b"
_SAVE_AS_UTF8 = "save the file as UTF-8"


def read_lines(path: Path, report: Report) -> list[str]:
    """Read the lines of a UTF-8 file, without line ends (LF or CR LF). No other character ends a line.

    A byte-order mark is dropped. In a tolerant report a line that is not UTF-8 is kept with U+FFFD in place of the
    bad bytes, so that line numbers and line-aligned files stay in step.
    """
    lines = _decoded_lines(path, report)
    return lines[:-1] if lines and lines[-1] == "" else lines


def read_text(path: Path, report: Report) -> str:
    """Read a UTF-8 file as one text with LF between lines; no line end is added."""
    return "\n".join(_decoded_lines(path, report))


def _decoded_lines(path: Path, report: Report) -> list[str]:
    """Lines between line ends; the last one is empty if the file ends with a line end."""
    data = _read_bytes(path, report)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        report.fault(path, 1, "the file is UTF-16", _SAVE_AS_UTF8)
        return []
    chunks = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    return [_decode(chunk.removesuffix(b"\r"), path, number, report) for number, chunk in enumerate(chunks, start=1)]


def _read_bytes(path: Path, report: Report) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged gzip file ({error})"
        report.fault(path, None, f"cannot be read: {reason}")
        return b""


def _decode(chunk: bytes, path: Path, number: int, report: Report) -> str:
    try:
        return chunk.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = chunk[error.start]
        report.fault(path, number, f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8", _SAVE_AS_UTF8)
        return chunk.decode("utf-8", errors="replace")
