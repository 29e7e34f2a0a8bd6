"""PNG decoding: all formats give the same picture, and invalid or oversized files are refused."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import InvalidInput
from service.tasks.inputs.json_input import effort_of
from service.tasks.inputs.png import MAX_PIXELS, MAX_PNG_BYTES, PictureSize, read_png, size_of_png
from tests.tiny_pictures import as_json, png_of

SIZE = PictureSize(8, 6)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(columns: int, rows: int, bits: int, kind: int, lines: bytes, more: bytes = b"") -> bytes:
    """A PNG file of a header and its lines, each of which starts with a filter byte."""
    head = struct.pack(">IIBBBBB", columns, rows, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def noise(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
    st.booleans(),
)
def test_every_mode_and_size_becomes_the_size_of_the_model(
    mode: str, rows: int, columns: int, seed: int, optimised: bool
) -> None:
    """Every mode and size is decoded to uint8 `[rows, columns, 3]`, and the announced size is correct."""
    file = io.BytesIO()
    Image.fromarray(noise(rows, columns, seed)).convert(mode).save(file, "PNG", optimize=optimised)
    pixels = read_png(file.getvalue(), SIZE)
    assert (pixels.shape, pixels.dtype) == ((8, 6, 3), np.uint8)
    assert size_of_png(file.getvalue()) == PictureSize(rows, columns)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 255))
def test_damage_is_refused_and_nothing_else_happens(start: bytes, place: int, value: int) -> None:
    """Random bytes and files with one changed byte are decoded or refused, without any other exception."""
    damaged = bytearray(png_of(noise(8, 6)))
    damaged[place % len(damaged)] = value
    for data in (start, bytes(damaged), bytes(damaged)[:place]):
        with suppress(InvalidInput):
            assert read_png(data, SIZE).shape == (8, 6, 3)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    pixels = noise(8, 6)
    assert np.array_equal(read_png(png_of(pixels), SIZE), pixels)


def test_what_is_transparent_is_white() -> None:
    """Transparent pixels are composited on white, also in palettes."""
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 128))
    file = io.BytesIO()
    picture.save(file, "PNG")
    assert read_png(file.getvalue(), PictureSize(1, 2)).tolist() == [[[255] * 3, [127] * 3]]
    palette = raw_png(1, 1, 8, 3, b"\0\0", chunk(b"PLTE", bytes([10, 20, 30])) + chunk(b"tRNS", b"\0"))
    assert read_png(palette, PictureSize(1, 1)).tolist() == [[[255, 255, 255]]]


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    """16-bit samples are scaled to 8 bits: half of full scale is 128."""
    lines = b"\0" + struct.pack(">HH", 0x8000, 0xFFFF)
    assert read_png(raw_png(2, 1, 16, 0, lines), PictureSize(1, 2))[0, :, 0].tolist() == [128, 255]


def test_interlaced_files_are_read() -> None:
    """Adam7 interlaced files are decoded, down to a single pixel, which has only the first pass."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    body = head + chunk(b"IDAT", zlib.compress(b"\0\x01\x02\x03")) + chunk(b"IEND", b"")
    assert read_png(b"\x89PNG\r\n\x1a\n" + body, PictureSize(1, 1)).tolist() == [[[1, 2, 3]]]


def test_of_an_animation_the_first_frame_is_read() -> None:
    file = io.BytesIO()
    first, second = Image.new("RGB", (6, 8), (9, 9, 9)), Image.new("RGB", (6, 8), (200, 0, 0))
    first.save(file, "PNG", save_all=True, append_images=[second])
    assert (read_png(file.getvalue(), SIZE) == 9).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff\xd8\xff\xe0rest", "no PNG file but a JPEG file"),
        (b"GIF89a", "a GIF file"),
        (b"RIFF\0\0\0\0WEBP", "a WebP"),
        (b"<svg xmlns='...'>", "an SVG file"),
        (b"hello", "another kind of file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "ends within its head"),
        (raw_png(0, 4, 8, 2, b""), "does not begin with its size"),
        (png_of(noise(30, 30))[:400], "damaged or cut short"),
        (png_of(noise(4, 4)) + bytes(MAX_PNG_BYTES), "bytes, at most"),
    ],
)
def test_what_is_no_good_png_file_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_png(data, SIZE)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A small file that announces too many pixels is refused before decompression and counts as no work."""
    bomb = raw_png(60_000, 60_000, 8, 2, bytes(1000))
    with pytest.raises(InvalidInput, match=f"60000 x 60000 pixels, at most {MAX_PIXELS:,}"):
        read_png(bomb, SIZE)
    assert effort_of(as_json(bomb)) == 0


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"tEXt", b"abcd"])
def test_what_is_no_pixel_is_not_even_unpacked(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed texts and profiles, which may inflate to megabytes, never reach the decoder."""
    content = b"a\0\0" + zlib.compress(bytes(1 << 20))
    picture = png_of(noise(5, 4))
    bomb = picture[:33] + chunk(name, content) * 9 + picture[33:]
    given: list[int] = []

    class Recorded(io.BytesIO):
        def __init__(self, data: bytes) -> None:
            given.append(len(data))
            super().__init__(data)

    monkeypatch.setattr("service.tasks.inputs.png.BytesIO", Recorded)
    assert (read_png(bomb, PictureSize(5, 4)) == read_png(picture, PictureSize(5, 4))).all()
    assert given == [len(picture)] * 2


def test_pixels_beyond_the_announced_size_are_not_unpacked() -> None:
    """The data of one pixel are followed by a hundred megabytes: no more memory is taken than for the pixel."""
    endless = zlib.compress(b"\0\x01\x02\x03" + bytes(100 << 20), 1)
    bomb = raw_png(1, 1, 8, 2, b"")
    head = bomb[: bomb.index(b"IDAT") - 4]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels = read_png(head + chunk(b"IDAT", endless) + chunk(b"IEND", b""), PictureSize(1, 1))
    assert pixels.tolist() == [[[1, 2, 3]]]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_a_large_picture_counts_as_more_work_than_a_small_one() -> None:
    """The work estimate follows the announced number of pixels, not the compressed size."""
    small, large = (png_of(np.zeros((side, side, 3), dtype=np.uint8)) for side in (16, 1000))
    assert effort_of(as_json(large)) > 20_000 > 100 * effort_of(as_json(small)) > 0
