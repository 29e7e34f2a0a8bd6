"""Request bodies that were compressed for the way: `Content-Encoding: gzip` and `deflate`.

A kilobyte can inflate to a megabyte, so nothing is inflated beyond the limit on a body, what is inflated counts among
the bodies that are held, and more than a little of it is inflated in a thread.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.exceptions import HTTPException

ACCEPTED_CODINGS = "gzip, deflate"

_GZIP_NAMES = frozenset({b"gzip", b"x-gzip"})
_CODINGS = _GZIP_NAMES | {b"deflate"}
_GZIP_FORM, _ZLIB_FORM, _RAW_FORM = 31, 15, -15  # as zlib counts its windows
#: A gzip file may consist of several, one after the other. Each costs a copy of what follows it.
_MAX_MEMBERS = 16
#: Inflated at once, without a thread; so many bytes are always allowed, whatever is held.
_SMALL_BYTES = 64 * 1024
_MAX_SHOWN_CHARACTERS = 60


class BodyRefused(HTTPException):
    """A body that cannot be taken as it was sent."""

    def __init__(self, status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.error_type = error_type


class HeldBodies(Protocol):
    """Counts the bytes of all request bodies."""

    body_bytes: int

    def make_room_for_bodies(self, num_bytes: int = 0) -> bool:
        """Whether so many bytes more are within the limit."""


class UncountedBodies:
    """Where nothing else is held."""

    body_bytes = 0

    def make_room_for_bodies(self, num_bytes: int = 0) -> bool:
        """There always is."""
        return True


class Inflater:
    """Inflates request bodies, each within the limit on one body, and all within the limit on all."""

    def __init__(self, max_body_bytes: int, held: HeldBodies) -> None:
        self._max_bytes = max_body_bytes
        self._held = held

    @asynccontextmanager
    async def inflated(self, raw: bytes, content_encoding: bytes, max_bytes: int = 0) -> AsyncIterator[bytes]:
        """The body as it was before it was compressed, which counts as held until the context ends.

        `max_bytes` is the limit on this body, if it is another than on others.

        Raises:
            BodyRefused: 415 for another coding, 413 beyond the limit, 400 for damaged data, 429 if too much is held.
        """
        coding = coding_of(content_encoding)
        if not coding or not raw:
            yield raw
            return
        max_bytes = max_bytes or self._max_bytes
        small_bytes = min(_SMALL_BYTES, max_bytes)
        body = inflate(raw, coding, small_bytes) if len(raw) <= small_bytes else None
        num_held = 0 if body is not None else max_bytes - len(raw)  # which is held already
        if num_held > 0 and not self._held.make_room_for_bodies(num_held):
            message = "too many bytes of request bodies are held at this moment"
            raise BodyRefused(429, "overloaded", message, {"Retry-After": "1"})
        self._held.body_bytes += num_held
        try:
            if body is None:
                body = await asyncio.to_thread(inflate, raw, coding, max_bytes)
            if body is None:
                message = f"the body is larger than {max_bytes} bytes once it is inflated"
                raise BodyRefused(413, "body_too_large", message)
            self._held.body_bytes += len(body) - num_held
            num_held = len(body)
            yield body
        finally:
            self._held.body_bytes -= num_held


def coding_of(content_encoding: bytes) -> bytes:
    """The coding of a body by the value of its header; empty if it has none. Raises BodyRefused for another one."""
    names = [name.strip().lower() for name in content_encoding.split(b",")]
    codings = [name for name in names if name not in (b"", b"identity")]
    if len(codings) > 1 or not _CODINGS.issuperset(codings):
        shown = ascii(content_encoding.decode("latin-1")[:_MAX_SHOWN_CHARACTERS])
        message = (
            f"Content-Encoding: {shown[1:-1]} is not read here: send the body as it is, or with one of gzip and deflate"
        )
        raise BodyRefused(415, "unsupported_media_type", message, {"Accept-Encoding": ACCEPTED_CODINGS})
    return codings[0] if codings else b""


def inflate(raw: bytes, coding: bytes, max_bytes: int) -> bytes | None:
    """The inflated body, or None if it is larger than `max_bytes`. Raises BodyRefused if it is damaged."""
    form = _GZIP_FORM if coding in _GZIP_NAMES else _form_of_deflate(raw)
    body, rest = bytearray(), raw
    for _ in range(_MAX_MEMBERS):
        inflating = zlib.decompressobj(form)
        try:
            body += inflating.decompress(rest, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise _damaged(coding, str(error).partition(": ")[2] or "its data are damaged") from None
        if len(body) > max_bytes:
            return None
        if not inflating.eof:
            raise _damaged(coding, "its end is missing")
        rest = inflating.unused_data
        if not rest:
            return bytes(body)
        if form != _GZIP_FORM:
            break
    raise _damaged(coding, "something follows its end")


def _form_of_deflate(raw: bytes) -> int:
    """`deflate` is the zlib format; some clients leave its header out."""
    is_zlib = len(raw) > 1 and raw[0] & 15 == 8 and (raw[0] << 8 | raw[1]) % 31 == 0
    return _ZLIB_FORM if is_zlib else _RAW_FORM


def _damaged(coding: bytes, why: str) -> BodyRefused:
    message = f"the body is not {coding.decode()}, as its Content-Encoding says: {why}"
    return BodyRefused(400, "malformed_body", message)
