"""The blocks of a GIF file, walked without decoding a pixel: how many frames it has, and of what size.

Source: CompuServe, Graphics Interchange Format, version 89a, sections 15 to 27.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from service.errors import InvalidInput
from service.tasks.inputs.clips.facts import MAX_FRAMES, ClipFacts, too_many_frames

SIGNATURES: Final = (b"GIF87a", b"GIF89a")
#: After the signature: width, height, flags, index of the background, aspect ratio.
_SCREEN = struct.Struct("<HHBBB")
#: After the separator of an image: left, top, width, height, flags.
_IMAGE = struct.Struct("<HHHHB")
_EXTENSION, _IMAGE_SEPARATOR, _TRAILER = 0x21, 0x2C, 0x3B
#: The extension that says how the next frame is shown: label, size, flags, hundredths of a second.
_CONTROL = struct.Struct("<BBBH")
_CONTROL_START, _MS_PER_UNIT = b"\xf9\x04", 10
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07
#: More than a file of eight million bytes has in blocks of the usual 255 bytes, and counted in a few milliseconds.
_MAX_BLOCKS = 1 << 16
_CUT = "the GIF file is cut short: {} does not end"


def gif_facts(data: bytes) -> ClipFacts:
    """Frames and size of a GIF file.

    Raises:
        InvalidInput: it is damaged, cut short, or has too many frames or blocks.
    """
    start = len(SIGNATURES[0])
    columns, rows, flags, _, _ = _unpacked(_SCREEN, data, start, "its head")
    if not rows or not columns:
        raise InvalidInput("the GIF file is damaged: it does not begin with its size")
    durations = tuple(_durations(data, start + _SCREEN.size + _table_size(flags), rows, columns))
    if not durations:
        raise InvalidInput("the GIF file holds no frame")
    return ClipFacts(len(durations), rows, columns, durations)


def _durations(data: bytes, at: int, rows: int, columns: int) -> Iterator[int]:
    """How long each frame is shown, in milliseconds; 0 where the file does not say."""
    num_frames, left, duration_ms = 0, _MAX_BLOCKS, 0
    while (kind := _byte(data, at, "the file")) != _TRAILER:
        at += 1
        if kind == _EXTENSION:
            if data.startswith(_CONTROL_START, at) and at + _CONTROL.size <= len(data):
                duration_ms = _MS_PER_UNIT * int(_CONTROL.unpack_from(data, at)[3])
            at, left = _after_blocks(data, at + 1, left)
        elif kind == _IMAGE_SEPARATOR:
            num_frames += 1
            at, left = _after_frame(data, at, left, num_frames, (rows, columns))
            yield duration_ms
            duration_ms = 0
        elif kind:
            raise InvalidInput(f"the GIF file is damaged: no block begins with the byte {kind:#04x}, at {at - 1:,}")


def _after_frame(data: bytes, at: int, left: int, number: int, size: tuple[int, int]) -> tuple[int, int]:
    """Where a frame ends, and how many blocks the file may still have."""
    if number > MAX_FRAMES:
        raise too_many_frames("GIF")
    rows, columns = size
    x, y, width, height, flags = _unpacked(_IMAGE, data, at, f"frame {number}")
    if not width or not height or x + width > columns or y + height > rows:
        raise InvalidInput(f"the GIF file is damaged: frame {number} reaches beyond its {columns} x {rows}")
    # The byte after the table is the size of the first codes.
    return _after_blocks(data, at + _IMAGE.size + _table_size(flags) + 1, left)


def _after_blocks(data: bytes, at: int, left: int) -> tuple[int, int]:
    """Where a chain of data blocks ends, and how many blocks the file may still have."""
    while size := _byte(data, at, "a block"):
        at, left = at + 1 + size, left - 1
        if not left:
            raise InvalidInput(f"the GIF file has more than {_MAX_BLOCKS:,} data blocks")
    return at + 1, left


def _byte(data: bytes, at: int, what: str) -> int:
    if at >= len(data):
        raise InvalidInput(_CUT.format(what))
    return data[at]


def _unpacked(form: struct.Struct, data: bytes, at: int, what: str) -> tuple[int, ...]:
    if at + form.size > len(data):
        raise InvalidInput(_CUT.format(what))
    return form.unpack_from(data, at)


def _table_size(flags: int) -> int:
    """Bytes of the colour table that these flags declare."""
    return 3 << ((flags & _TABLE_SIZE) + 1) if flags & _HAS_TABLE else 0
