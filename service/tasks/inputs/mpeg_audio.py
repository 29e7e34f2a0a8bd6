"""Where the sound of an MP3 file begins, behind tags or the rest of a stream, and whether it says how long it is."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Bytes that may stand between the tags and the first frame.
_MAX_JUNK = 1 << 16
_ID3_HEAD = 10
_ID3_FOOTER_FLAG = 0x10
_MARK = re.compile(rb"\xff[\xe2-\xff]")
#: Kilobits a second by the four bits of a head, of layer III: of MPEG 1, and of MPEG 2 and 2.5.
_BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_SAMPLE_RATES_HZ = (44100, 48000, 32000)
#: Right shift of the rates by version: MPEG 2.5, reserved, 2, 1.
_HALVINGS = (2, None, 1, 0)
#: Where encoders write how many frames follow.
_LENGTH_MARKS = (b"Xing", b"Info", b"VBRI")
_MAX_MARK_OFFSET = 64


class _Head(NamedTuple):
    """What does not change from frame to frame, and the size of this one in bytes."""

    version: int
    sample_rate_hz: int
    size: int


def mpeg_start(data: bytes) -> int | None:
    """Offset of the first frame of layer III that another one follows, or that ends the file; None if there is none."""
    begin = _after_tags(data)
    for found in _MARK.finditer(data, begin, min(len(data), begin + _MAX_JUNK)):
        head = _head(data, found.start())
        if head is None:
            continue
        end = found.start() + head.size
        following = _head(data, end)
        if (following is not None and following[:2] == head[:2]) or (end >= len(data) and found.start() == begin):
            return found.start()
    return None


def says_its_length(data: bytes) -> bool:
    """Whether the first frame of an MP3 file tells how many follow."""
    return any(mark in data[:_MAX_MARK_OFFSET] for mark in _LENGTH_MARKS)


def _after_tags(data: bytes) -> int:
    """Offset behind tags of the form ID3v2, whose size is in groups of seven bits."""
    start = 0
    while data.startswith(b"ID3", start) and len(data) >= start + _ID3_HEAD:
        a, b, c, d = data[start + 6 : start + _ID3_HEAD]
        footer = _ID3_HEAD if data[start + 5] & _ID3_FOOTER_FLAG else 0
        start += _ID3_HEAD + (a << 21 | b << 14 | c << 7 | d) + footer
    return start


def _head(data: bytes, start: int) -> _Head | None:
    """The head of a frame of layer III at an offset, or None where there is none."""
    if start + 4 > len(data) or data[start] != 0xFF or data[start + 1] & 0xE6 != 0xE2:
        return None
    version, rate_index = data[start + 1] >> 3 & 3, data[start + 2] >> 2 & 3
    halvings, bits = _HALVINGS[version], data[start + 2] >> 4
    if halvings is None or rate_index == 3 or bits in (0, 15):
        return None
    sample_rate_hz = _SAMPLE_RATES_HZ[rate_index] >> halvings
    bytes_a_rate = 144_000 if halvings == 0 else 72_000
    padding = data[start + 2] >> 1 & 1
    size = bytes_a_rate * _BIT_RATES[min(1, halvings)][bits] // sample_rate_hz + padding
    return _Head(version, sample_rate_hz, size)
