"""Compression of answers for clients that accept it: gzip or deflate, for what is worth it."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from starlette.responses import Response

_MIN_BYTES = 1024
#: From this size on, compressing takes longer than a change of threads.
_IN_THREAD_BYTES = 16 * 1024
#: Tensors of numbers hardly become smaller by more work.
_LEVEL = 1
_CODINGS = (b"gzip", b"deflate")


async def compressed(response: Response, accept_encoding: bytes) -> Response:
    """The response, compressed in the first coding of ours that the client accepts; as it is if there is none."""
    body = bytes(response.body)
    coding = accepted_coding(accept_encoding) if len(body) >= _MIN_BYTES else b""
    if not coding:
        return response
    if len(body) >= _IN_THREAD_BYTES:
        smaller = await asyncio.to_thread(_deflated, body, coding)
    else:
        smaller = _deflated(body, coding)
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    headers |= {"Content-Encoding": coding.decode(), "Vary": "Accept-Encoding"}
    return Response(smaller, response.status_code, headers)


def accepted_coding(accept_encoding: bytes) -> bytes:
    """`gzip`, `deflate`, or nothing, by the value of the header Accept-Encoding."""
    accepted = {}
    for part in accept_encoding.lower().split(b","):
        name, _, weight = part.partition(b";")
        accepted[name.strip()] = weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return next((coding for coding in _CODINGS if accepted.get(coding)), b"")


def _deflated(body: bytes, coding: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0) if coding == b"gzip" else zlib.compress(body, _LEVEL)
