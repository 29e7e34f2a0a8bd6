"""Lines of a text file, one after another: gzip, byte-order marks, line ends, encodings, lines that are no text.

A line that cannot be decoded, or is longer than any row may be, is a fault of that line alone.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from service.errors import InvalidInput, UnrollError

#: The longest line that is read. What is beyond is skipped, so that memory stays bounded.
MAX_LINE_BYTES = 1 << 24
HEAD_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_SKIP_BYTES = 1 << 20
#: Marks at the start of a file; that of UTF-32 begins with one of UTF-16.
_WIDE = {
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
}
#: Which of four bytes are zero in most characters of a European text.
_ZEROS = {"utf-32-le": (0, 1, 1, 1), "utf-32-be": (1, 1, 1, 0), "utf-16-le": (0, 1, 0, 1), "utf-16-be": (1, 0, 1, 0)}
#: Files that are no text, by their first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a workbook or another zip archive: export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: export it as CSV",
    b"PAR1": "a Parquet file: name it .parquet",
    b"%PDF": "a PDF file",
    b"RIFF": "a sound: give a folder of sounds",
    b"\x89PNG": "a picture: give a folder of pictures",
    b"version https://git-lfs": "a pointer of Git LFS, not the data: fetch it with `git lfs pull`",
}


class UnreadableInput(UnrollError):
    """The input as a whole cannot be read."""


class Line(NamedTuple):
    """A line without its end, with U+FFFD for what is no text; `fault` says what is wrong with it, "" if nothing is."""

    text: str
    fault: str = ""


class TextLines:
    """The lines of a file. Iterate once."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        """Open the file, and look at its first bytes.

        Raises:
            UnreadableInput: it cannot be opened, or is no text.
            InvalidInput: there is no such encoding.
        """
        self._path = path
        self._encoding = _known(encoding) if encoding else "utf-8"
        try:
            self._size = path.stat().st_size
            self._raw = path.open("rb")
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            self._file = self._unpacked()
            self._head = self._file.read(HEAD_BYTES)
            self._look_at_head(encoding is not None)
        except (OSError, EOFError, zlib.error) as error:
            self._raw.close()
            raise _unreadable(path, error) from error
        except UnreadableInput:
            self._raw.close()
            raise

    @property
    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self._size if self._raw.closed else self._raw.tell()

    def head(self) -> list[str]:
        """The first lines, without one that is cut, to recognise what the file is."""
        data = self._head.removeprefix(codecs.BOM_UTF8)
        text = data.decode(self._encoding, errors="replace")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return lines[:-1] if len(self._head) >= HEAD_BYTES and len(lines) > 1 else lines

    def __iter__(self) -> Iterator[Line]:
        try:
            yield from self._lines()
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(self._path, error) from error
        finally:
            self._raw.close()

    def close(self) -> None:
        self._raw.close()

    def _unpacked(self) -> IO[bytes]:
        is_packed = self._raw.peek(2)[:2] == _GZIP_MAGIC
        return cast(IO[bytes], gzip.open(self._raw)) if is_packed else self._raw

    def _look_at_head(self, is_named: bool) -> None:
        foreign = next((what for magic, what in _FOREIGN.items() if self._head.startswith(magic)), None)
        if foreign is not None:
            raise UnreadableInput(f"{self._path}: this is {foreign}")
        wide = _wide_encoding(self._head)
        if wide is not None and not is_named:
            self._encoding = wide

    def _lines(self) -> Iterator[Line]:
        file = self._rewound()
        encoding = "utf-8" if self._is_wide else self._encoding
        is_first = True
        while data := file.readline(MAX_LINE_BYTES):
            fault = ""
            if len(data) >= MAX_LINE_BYTES and not data.endswith(b"\n"):
                fault, data = f"the line has more than {MAX_LINE_BYTES:,} bytes", b""
                _skip_line(file)
            if is_first:
                data, is_first = data.removeprefix(codecs.BOM_UTF8), False
            yield _decoded(data.removesuffix(b"\n").removesuffix(b"\r"), encoding, fault)

    @property
    def _is_wide(self) -> bool:
        """Whether a character takes several bytes even in ASCII, so that lines cannot be found among the bytes."""
        return "a".encode(self._encoding)[-1:] != b"a" or len("a".encode(self._encoding)) > 1

    def _rewound(self) -> IO[bytes]:
        """The file from its start, with LF at the end of lines, in an encoding that contains ASCII."""
        has_old_ends = b"\n" not in self._head and self._head.count(b"\r") > 1
        self._file.seek(0)
        if not self._is_wide and not has_old_ends:
            return self._file
        return io.BufferedReader(_Translated(self._file, self._encoding if self._is_wide else "", has_old_ends))


class _Translated(io.RawIOBase):
    """A file in UTF-8 with LF for CR."""

    def __init__(self, file: IO[bytes], encoding: str, has_old_ends: bool) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if encoding else None
        self._has_old_ends = has_old_ends
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        while not self._rest:
            data = self._file.read(_SKIP_BYTES)
            if not data and self._decoder is None:
                return 0
            self._rest = self._translate(data)
            if not data and not self._rest:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def _translate(self, data: bytes) -> bytes:
        if self._decoder is not None:
            data = self._decoder.decode(data, final=not data).encode("utf-8")
        return data.replace(b"\r", b"\n") if self._has_old_ends else data


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by the mark, or by where the zero bytes are."""
    marked = next((name for mark, name in _WIDE.items() if head.startswith(mark)), None)
    if marked is not None or b"\0" not in head:
        return marked
    parts = [head[start : len(head) // 4 * 4 : 4] for start in range(4)]
    shares = [part.count(0) / len(part) if part else 0.0 for part in parts]
    fits = (name for name, zeros in _ZEROS.items() if all(abs(s - z) < 0.3 for s, z in zip(shares, zeros, strict=True)))
    return next(fits, None)


def _decoded(data: bytes, encoding: str, fault: str) -> Line:
    try:
        return Line(data.decode(encoding), fault)
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line (0x{data[error.start]:02x}) is not {encoding.upper()}"
        return Line(data.decode(encoding, errors="replace"), fault or found)


def _skip_line(file: IO[bytes]) -> None:
    while (data := file.readline(_SKIP_BYTES)) and not data.endswith(b"\n"):
        pass


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise InvalidInput(f"there is no encoding {encoding!r}; usual ones are utf-8, cp1252, utf-16") from error


def _unreadable(path: Path, error: Exception) -> UnreadableInput:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"a damaged gzip file ({error})"
    return UnreadableInput(f"{path} cannot be read: {reason}")
