"""The chunks of a PNG file that may be animated, walked without decoding a pixel.

Source: Portable Network Graphics (third edition), W3C, sections 5 and 11.3.6: `acTL` announces an animation, `fcTL`
begins each frame, `fdAT` holds the pixels of all frames but the first. A file without `acTL` is a picture, one frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from service.errors import InvalidInput
from service.tasks.inputs.clips.facts import MAX_FRAMES, ClipFacts, too_many_frames
from service.tasks.inputs.png import SIGNATURE

_CHUNK_HEAD = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
_SIZE = struct.Struct(">II")
#: `fcTL`: sequence number, width, height, left, top, the time as a fraction, disposal and blending.
_FRAME = struct.Struct(">IIIIIHHBB")
#: Of the time of a frame, which is a fraction of a second.
_USUAL_DENOMINATOR = 100
#: `acTL`: frames and repetitions.
_ANIMATION = struct.Struct(">II")
#: Chunks that say something about the pixels. Texts and profiles are compressed, and a few bytes of them are megabytes.
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND"})
#: More than a file of eight million bytes has in chunks of the usual 8,192 bytes.
_MAX_CHUNKS = 1 << 14


class _Chunk(NamedTuple):
    name: bytes
    start: int
    body: int
    end: int


def apng_facts(data: bytes) -> ClipFacts:
    """Frames and size of a PNG file: those that are shown, without a picture that stands in for the animation.

    Raises:
        InvalidInput: it is damaged, cut short, or has too many frames or chunks.
    """
    rows = columns = announced = 0
    durations: list[int] = []
    for chunk in _chunks(data):
        if chunk.name == b"IHDR" and chunk.end - chunk.body >= _SIZE.size:
            columns, rows = _SIZE.unpack_from(data, chunk.body)
        elif chunk.name == b"acTL":
            announced, _ = _unpacked(_ANIMATION, data, chunk)
        elif chunk.name == b"fcTL":
            if len(durations) == MAX_FRAMES:
                raise too_many_frames("PNG")
            frame = _unpacked(_FRAME, data, chunk)
            _require_inside(frame, len(durations) + 1, rows, columns)
            durations.append(1000 * frame[5] // (frame[6] or _USUAL_DENOMINATOR))
    if not rows or not columns:
        raise InvalidInput("the PNG file is damaged: it does not begin with its size")
    if announced and announced != len(durations):
        raise InvalidInput(f"the PNG file is damaged: it announces {announced:,} frames and has {len(durations):,}")
    return ClipFacts(len(durations), rows, columns, tuple(durations)) if announced else ClipFacts(1, rows, columns)


def pixels_alone(data: bytes) -> bytes:
    """The file without the chunks that say nothing about its pixels or its frames."""
    return SIGNATURE + b"".join(data[chunk.start : chunk.end] for chunk in _chunks(data) if chunk.name in _KEPT)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Each chunk up to IEND. Raises InvalidInput where the file ends within one."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + _CHUNK_HEAD.size > len(data):
            raise InvalidInput("the PNG file is cut short: it ends before its last chunk")
        size, name = _CHUNK_HEAD.unpack_from(data, at)
        body = at + _CHUNK_HEAD.size
        end = body + size + _CHECKSUM_BYTES
        if end > len(data):
            raise InvalidInput(f"the PNG file is cut short: it ends within a chunk {name!r}")
        yield _Chunk(name, at, body, end)
        if name == b"IEND":
            return
        at = end
    raise InvalidInput(f"the PNG file has more than {_MAX_CHUNKS:,} chunks")


def _unpacked(form: struct.Struct, data: bytes, chunk: _Chunk) -> tuple[int, ...]:
    if chunk.end - _CHECKSUM_BYTES - chunk.body != form.size:
        raise InvalidInput(f"the PNG file is damaged: a chunk {chunk.name.decode()} has not {form.size} bytes")
    return form.unpack_from(data, chunk.body)


def _require_inside(frame: tuple[int, ...], number: int, rows: int, columns: int) -> None:
    _, width, height, x, y, *_ = frame
    if not width or not height or x + width > columns or y + height > rows:
        raise InvalidInput(f"the PNG file is damaged: frame {number} reaches beyond its {columns} x {rows}")
