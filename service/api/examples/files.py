"""Small inputs for the examples in `/docs` that are not text: audio, an image, a time series."""

from __future__ import annotations

import base64
import math
import struct
import zlib

_RATE_HZ = 8000
_SIDE = 32
_YELLOW, _WHITE = bytes((250, 200, 40)), bytes((255, 255, 255))
_STORED = b"\x78\x01\x01"  # zlib's header, and the last block is not compressed


def short_sound() -> str:
    """25 ms of silence as a wave file of 16-bit samples at 8 kHz, in base64."""
    silence = bytes(_RATE_HZ // 40 * 2)
    form = struct.pack("<IHHIIHH", 16, 1, 1, _RATE_HZ, 2 * _RATE_HZ, 2, 16)
    riff = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(silence)) + silence
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(riff)) + riff).decode()


def small_picture() -> str:
    """A yellow disc on white, as a PNG file in base64: one bit a pixel, with a palette.

    The rows are stored and not compressed, since builds of zlib compress differently.
    """
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 1, 3, 0, 0, 0)
    rows = b"".join(b"\0" + _row_of_disc(row) for row in range(_SIDE))
    stored = _STORED + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows + struct.pack(">I", zlib.adler32(rows))
    chunks = ((b"IHDR", head), (b"PLTE", _WHITE + _YELLOW), (b"IDAT", stored), (b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)).decode()


def _row_of_disc(row: int) -> bytes:
    middle, radius = (_SIDE - 1) / 2, _SIDE * 0.45
    bits = "".join("01"[math.hypot(row - middle, column - middle) < radius] for column in range(_SIDE))
    return int(bits, 2).to_bytes(_SIDE // 8, "big")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def week_of_air(num_hours: int = 168) -> list[list[float]]:
    """Hourly air quality of calm days in Beijing, in the channels of `air-beijing`."""
    return [_hour_of_air(hour) for hour in range(num_hours)]


def _hour_of_air(hour: int) -> list[float]:
    turn = math.sin(2 * math.pi * hour / 24)
    dust, temperature = round(90 + 40 * turn), round(8 - 5 * turn)
    calm_wind = [0, 0, 0, 1]
    return [dust, -5, temperature, 1022, *calm_wind, 1.79, 0, 0, hour % 24]
