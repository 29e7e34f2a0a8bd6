"""Recognise files that hold no plain text: workbooks, archives, web pages, pointers of Git LFS, UTF-16 and UTF-32."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_SAMPLE_BYTES = 4096
_UNPACK = "unpack it first"
_EXPORT_CSV = "export the sheet as CSV in UTF-8"
_CONVERT = "convert it to CSV or JSON lines"

#: First bytes, what such a file is, and what to do with it.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", _EXPORT_CSV),
    (b"PAR1", "a Parquet file", _CONVERT),
    (b"ARROW1", "an Arrow file", _CONVERT),
    (b"FEA1", "a Feather file", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"SQLite format 3", "an SQLite database", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", "store arrays as .npz with x and y"),
    (b"%PDF", "a PDF file", "save its text as plain text"),
    (b"{\\rtf", "an RTF document", "save its text as plain text"),
    (b"BZh", "packed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "packed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89PNG", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"GIF8", "a GIF picture", ""),
    (b"RIFF", "a WAV or another RIFF file", "name sounds in a table, or give a folder with a folder for each label"),
    (b"OggS", "an Ogg sound", "convert sounds to WAV"),
    (b"fLaC", "a FLAC sound", "convert sounds to WAV"),
    (b"ID3", "an MP3 sound", "convert sounds to WAV"),
    (b"version https://git-lfs.github.com/spec", "a pointer of Git LFS, not the data", "fetch it with `git lfs pull`"),
)
_TAR_MARK = slice(257, 262)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffd\ufffe\uffff]")
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|table)\b", re.IGNORECASE | re.DOTALL)


class Foreign(NamedTuple):
    """What a file is instead of plain text in UTF-8, and what to do with it."""

    what: str
    remedy: str


def foreign_kind(data: bytes) -> Foreign | None:
    """Recognise a binary file by its first bytes; None for what may be text."""
    if data.startswith(b"PK\x03\x04"):
        return _zipped(data)
    if data[_TAR_MARK] == b"ustar":
        return Foreign("a tar archive", _UNPACK)
    if data.startswith(b"\x80") and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Foreign("a Python pickle", _CONVERT)
    found = next((Foreign(what, remedy) for magic, what, remedy in _SIGNATURES if data.startswith(magic)), None)
    return found or _wide(data)


def _zipped(data: bytes) -> Foreign:
    """Office files are zip archives too: told by the names of their members."""
    head = data[: 16 * _SAMPLE_BYTES]
    if b"xl/" in head:
        return Foreign("an Excel workbook", _EXPORT_CSV)
    if b"opendocument.spreadsheet" in head:
        return Foreign("an OpenDocument sheet", _EXPORT_CSV)
    if b"word/" in head or b"opendocument.text" in head:
        return Foreign("a word processor's document", "save its text as plain text")
    return Foreign("a zip archive", _UNPACK)


def _wide(data: bytes) -> Foreign | None:
    encoding = wide_encoding(data)
    if encoding is None:
        return None
    name = encoding.upper()[:6]
    return Foreign(f"{name} text", f"save it as UTF-8, or pass --column encoding={encoding}")


def wide_encoding(data: bytes) -> str | None:
    """Name of UTF-16 or UTF-32, by the byte-order mark, or by where the zero bytes of ASCII characters are."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = data[: _SAMPLE_BYTES - _SAMPLE_BYTES % 4]
    shares = [_share_of_zeros(sample[start::4]) for start in range(4)]
    patterns = {
        "utf-32-le": (0, 1, 1, 1),
        "utf-32-be": (1, 1, 1, 0),
        "utf-16-le": (0, 1, 0, 1),
        "utf-16-be": (1, 0, 1, 0),
    }
    fits = (
        name for name, zeros in patterns.items() if all(abs(s - z) < 0.3 for s, z in zip(shares, zeros, strict=True))
    )
    found = next(fits, None) if len(sample) >= 4 else None
    if found is not None or 0 not in sample or _is_plain(sample.replace(b"\0", b"")):
        return found
    return next((name for name in ("utf-16-le", "utf-16-be") if _is_text(sample, name)), None)


def _is_plain(data: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters: then zeros among them are strays."""
    return not _NO_TEXT.search(data.decode("utf-8", errors="replace")[:-1])


def _is_text(sample: bytes, encoding: str) -> bool:
    """Whether bytes with zeros among them are words of other alphabets, with blanks or line ends between them."""
    text = sample.decode(encoding, errors="replace")
    letters = sum(character.isalpha() for character in text)
    return 2 * letters > len(text) and not _NO_TEXT.search(text[:-1]) and any(sign in text for sign in " \n")


def _share_of_zeros(data: bytes) -> float:
    return data.count(0) / len(data) if data else 0.0


def is_web_page(data: str) -> bool:
    """Whether a text starts as HTML does: often a download that was answered by a login or error page."""
    return _PAGE.match(data[:_SAMPLE_BYTES].encode()) is not None
