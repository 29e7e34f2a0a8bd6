"""Clips: GIF and animated PNG files give the frames that went in, and what is damaged or too large is refused."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import InvalidInput
from service.tasks.core.task import Clip
from service.tasks.inputs.clips.clip_file import facts_of_clip, read_clip_file, read_pictures
from service.tasks.inputs.clips.facts import MAX_CLIP_PIXELS, MAX_FRAMES, ClipFacts, evenly, frames_in_time
from service.tasks.inputs.json_input import effort_of, pixels_of
from service.tasks.inputs.png import MAX_PNG_BYTES, PictureSize
from tests.tasks.inputs.clips.tiny_clips import apng_of, as_json, as_pictures, gif_of, square_clip
from tests.tiny_pictures import png_of

FRAMES = square_clip("red", ("moves left", "moves right"), 7)
SIZE = PictureSize(16, 16)
GIF, APNG = gif_of(FRAMES), apng_of(FRAMES)
#: Screen of 16 x 16 without colours, the head of a frame of 16 x 16, and an empty chain of data.
SCREEN, HEAD = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0, 0, 0), b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def frame_control(number: int, columns: int, rows: int, x: int = 0) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, columns, rows, x, 0, 1, 10, 0, 0))


def png_with(*chunks: bytes, columns: int = 16, rows: int = 16) -> bytes:
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (rows * (3 * columns + 1))))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("file", [GIF, APNG])
def test_the_frames_that_went_in_come_out(file: bytes) -> None:
    """All frames in order, at their own size, without loss; the facts say so before anything is decoded."""
    assert facts_of_clip(file)[:3] == (7, 16, 16)
    clip = read_clip_file(file)
    assert np.array_equal(clip.frames, FRAMES)
    assert (clip.numbers, clip.num_frames) == (tuple(range(7)), 7)


@pytest.mark.parametrize("file", [GIF, APNG])
def test_of_many_frames_some_are_taken_evenly(file: bytes) -> None:
    """Three of seven frames are those in the middle of equal parts, resized to the model's size."""
    clip = read_clip_file(file, 3, PictureSize(8, 4))
    assert clip.numbers == (1, 3, 5)
    assert clip.frames.shape == (3, 8, 4, 3)
    whole = read_clip_file(file, 3)
    assert np.array_equal(whole.frames, FRAMES[[1, 3, 5]])


@given(st.integers(1, MAX_FRAMES), st.integers(1, 64))
def test_frames_are_spread_evenly(num_frames: int, most: int) -> None:
    """Never more than asked for, in order, none twice, and with equal gaps but for rounding."""
    numbers = evenly(num_frames, most)
    assert len(numbers) == min(num_frames, most)
    gaps = np.diff(numbers)
    assert 0 <= numbers[0] <= numbers[-1] < num_frames
    assert not len(gaps) or 0 < gaps.min() <= gaps.max() <= gaps.min() + 1


@pytest.mark.parametrize("write", [gif_of, apng_of])
def test_a_frame_that_stays_is_as_many_frames_as_it_lasts(write: Callable[..., bytes]) -> None:
    """Equal frames, which programs join into one that is shown for longer, come out as the frames that went in."""
    frames = square_clip("red", ("stays", "moves right"), 8)
    file = write(frames, duration=40)
    assert facts_of_clip(file).num_frames == 4
    clip = read_clip_file(file)
    assert np.array_equal(clip.frames, frames)
    assert clip.numbers == (0, 0, 0, 0, 0, 1, 2, 3)
    assert read_clip_file(file, 4).numbers == (0, 0, 1, 3)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30), st.integers(1, 64))
def test_frames_in_time_are_in_order_and_bounded(durations: list[int], most: int) -> None:
    """However long frames are shown, at most as many as asked for are taken, in order, all of them of the clip."""
    numbers = frames_in_time(ClipFacts(len(durations), 1, 1, tuple(durations)), most)
    assert 1 <= len(numbers) <= most
    assert list(numbers) == sorted(numbers)
    assert 0 <= numbers[0] <= numbers[-1] < len(durations)


def test_one_frame_is_a_clip() -> None:
    """A GIF file of one frame and a PNG file without animation are clips of one frame."""
    for file in (gif_of(FRAMES[:1]), png_of(FRAMES[0])):
        clip = read_clip_file(file, 16, SIZE)
        assert np.array_equal(clip.frames, FRAMES[:1])
        assert clip.num_frames == 1


def test_frames_with_transparency_are_put_together_on_white() -> None:
    """A frame that holds only what changed is composed with the frames before it; the rest is white."""
    pictures = [Image.new("RGBA", (4, 4), (0, 0, 0, 0)) for _ in range(2)]
    pictures[0].putpixel((0, 0), (255, 0, 0, 255))
    pictures[1].putpixel((3, 3), (0, 0, 255, 255))
    for kind, keep in (("GIF", {"disposal": 1}), ("PNG", {"disposal": 0, "blend": 1})):
        file = io.BytesIO()
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **keep)
        frames = read_clip_file(file.getvalue()).frames
        assert frames[0, 3, 3].tolist() == [255, 255, 255]
        assert frames[1, 0, 0].tolist() == [255, 0, 0]
        assert frames[1, 3, 3].tolist() == [0, 0, 255]


def test_a_picture_that_stands_in_for_the_animation_is_no_frame() -> None:
    """The default image of an animated PNG file, for programs that know no animations, is left out."""
    file = apng_of(np.concatenate([FRAMES[:1], FRAMES[3:5]]), default_image=True)
    assert facts_of_clip(file).num_frames == 2
    assert np.array_equal(read_clip_file(file).frames, FRAMES[3:5])


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff\xd8\xff\xe0", "no clip but a JPEG file: send it as GIF"),
        (b"RIFF\0\0\0\0WEBP", "a WebP"),
        (b"GIF89a\1", "cut short: its head does not end"),
        (b"GIF89a" + bytes(7), "does not begin with its size"),
        (SCREEN + b";", "holds no frame"),
        (SCREEN + b"!", "cut short: a block does not end"),
        (SCREEN + b"?", "no block begins with the byte 0x3f, at 13"),
        (SCREEN + HEAD + b"\2\0", "cut short: the file does not end"),
        (SCREEN + HEAD[:5], "cut short: frame 1 does not end"),
        (SCREEN + b"," + struct.pack("<HHHHB", 9, 0, 8, 16, 0) + b"\2\0;", "frame 1 reaches beyond its 16 x 16"),
        (SCREEN + HEAD + b"\2\0;", "damaged or cut short"),
        (SCREEN + b"!\xfe" + b"\1a" * (1 << 16) + b"\0" + HEAD + b"\2\0;", "more than 65,536 data blocks"),
        (APNG[:70], "it ends within a chunk"),
        (APNG[:-12], "it ends before its last chunk"),
        (png_with(chunk(b"acTL", struct.pack(">II", 3, 0)), frame_control(0, 16, 16)), "announces 3 frames and has 1"),
        (png_with(chunk(b"acTL", struct.pack(">II", 1, 0)), frame_control(0, 9, 9, 8)), "frame 1 reaches beyond"),
        (png_with(chunk(b"acTL", b"\1")), "a chunk acTL has not 8 bytes"),
        (png_with(chunk(b"fcTL", b"")), "a chunk fcTL has not 26 bytes"),
        (png_with(*[chunk(b"teXt", b"")] * (1 << 14)), "more than 16,384 chunks"),
    ],
)
def test_what_is_damaged_is_refused_with_the_reason(file: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_clip_file(file, 4, SIZE)


def test_more_frames_than_are_read_are_refused_before_decoding() -> None:
    """Of 10,000 frames in a small GIF or PNG file the message names the limit."""
    gif = SCREEN + (HEAD + b"\2\0") * 10_000 + b";"
    frames = [frame_control(number, 1, 1) for number in range(10_000)]
    png = png_with(chunk(b"acTL", struct.pack(">II", 10_000, 0)), *frames)
    for file in (gif, png):
        with pytest.raises(InvalidInput, match="more than 1,000 frames"):
            facts_of_clip(file)
    with pytest.raises(InvalidInput, match="1,001 pictures, at most 1,000"):
        read_pictures([png_of(FRAMES[0])] * 1001, 16, SIZE)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """Files of a few bytes that declare gigabytes are refused by their heads, without memory for the pixels."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    huge = screen + HEAD + b"\2\0;"
    many = SCREEN.replace(struct.pack("<HH", 16, 16), struct.pack("<HH", 1024, 1024)) + (HEAD + b"\2\0") * 17 + b";"
    wide = chunk(b"IHDR", struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + wide + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file, reason in ((huge, "at most 4,194,304"), (many, "at most 16,777,216"), (png, "at most 4,194,304")):
        with pytest.raises(InvalidInput, match=reason):
            read_clip_file(file, 4, SIZE)
        assert pixels_of(Clip((file,))) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    with pytest.raises(InvalidInput, match="at most 8,388,608 are read"):
        facts_of_clip(GIF.ljust(MAX_PNG_BYTES + 1, b"\0"))


def test_compressed_texts_of_a_file_are_not_inflated() -> None:
    """A text of a PNG file that would inflate to 64 MB is not looked at."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))
    assert read_clip_file(png_with(text), 4, SIZE).num_frames == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 160 * 1024


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([GIF, APNG]), st.integers(0, 400), st.binary(min_size=1, max_size=4), st.booleans())
def test_any_damage_is_read_or_refused(file: bytes, place: int, bytes_there: bytes, is_cut: bool) -> None:
    """With bytes changed or the end missing, a file gives frames of the wanted size, or InvalidInput."""
    damaged = file[:place] if is_cut else file[:place] + bytes_there + file[place + len(bytes_there) :]
    shape = (5, 6, 3)
    with suppress(InvalidInput):
        shape = read_clip_file(damaged, 4, PictureSize(5, 6)).frames.shape[1:]
    assert shape == (5, 6, 3)


def test_pictures_are_frames_of_one_size() -> None:
    """PNG files in a list are the frames; another size and a damaged one are refused with their index."""
    files = [png_of(frame) for frame in FRAMES]
    assert np.array_equal(read_pictures(files, 16, SIZE).frames, FRAMES)
    assert read_pictures(files, 2, SIZE).numbers == (1, 5)
    small = png_of(np.zeros((2, 3, 3), np.uint8))
    for given_files, index, reason in (
        ([*files, small], 7, "3 x 2 pixels, the first one 16 x 16"),
        ([files[0], files[1][:70]], 1, "damaged or cut short"),
        ([files[0], b"GIF89a"], 1, "no PNG file but a GIF file"),
    ):
        with pytest.raises(InvalidInput, match=reason) as refused:
            read_pictures(given_files, 16, SIZE)
        assert tuple(refused.value.field) == (index,)
    with pytest.raises(InvalidInput, match="there are no pictures"):
        read_pictures([], 16, SIZE)


def test_the_work_of_a_clip_is_known_before_it_is_decoded() -> None:
    """All frames count, in a file and in a list, and a clip of many pixels is no short work."""
    assert pixels_of(as_json(GIF)) == pixels_of(as_json(APNG)) == pixels_of(as_pictures(FRAMES)) == 7 * 16 * 16
    assert pixels_of({"clip": "@"}) == 0
    long = np.zeros((16, 1024, 1024, 3), np.uint8)
    long[:, 0, 0] = 10 * np.arange(16)[:, None]  # equal frames would become one
    assert effort_of(as_json(gif_of(long))) >= MAX_CLIP_PIXELS // 32
    assert effort_of(as_json(GIF)) < 2000
