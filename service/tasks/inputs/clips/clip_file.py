"""Clips to frames: GIF files, animated PNG files, and lists of PNG files, on white and at the size of a model.

Pillow decodes them. Frames and size are found before anything is decoded, by walking through the file, because a few
bytes can declare gigabytes. Frames are taken evenly in time where there are more than a model reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.errors import InvalidInput
from service.tasks.inputs.clips.apng_chunks import apng_facts, pixels_alone
from service.tasks.inputs.clips.facts import MAX_FRAMES, ClipFacts, evenly, frames_in_time, require_pixels
from service.tasks.inputs.clips.gif_blocks import SIGNATURES as GIF_SIGNATURES
from service.tasks.inputs.clips.gif_blocks import gif_facts
from service.tasks.inputs.png import (
    MAX_PNG_BYTES,
    SIGNATURE,
    PictureSize,
    Pixels,
    first_line,
    kind_of_file,
    on_white,
    read_png,
    resized,
    size_of_png,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_DAMAGES = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError, IndexError, KeyError)


class ReadClip(NamedTuple):
    """Frames uint8 `[time, rows, columns, 3]`, their numbers within the clip, and how many frames it has.

    A frame that is shown for longer than others is there several times.
    """

    frames: Pixels
    numbers: tuple[int, ...]
    num_frames: int


def facts_of_clip(data: bytes) -> ClipFacts:
    """Frames and size of a file; no pixels are decoded.

    Raises:
        InvalidInput: it is neither a GIF nor a PNG file, damaged, or too large.
    """
    if not data:
        raise InvalidInput("the file is empty")
    if len(data) > MAX_PNG_BYTES:
        raise InvalidInput(f"the file has {len(data):,} bytes, at most {MAX_PNG_BYTES:,} are read")
    if data.startswith(GIF_SIGNATURES):
        return require_pixels(gif_facts(data))
    if data.startswith(SIGNATURE):
        return require_pixels(apng_facts(data))
    raise InvalidInput(f"this is no clip but {kind_of_file(data)}: send it as GIF, or as PNG with animation")


def read_clip_file(data: bytes, max_frames: int = MAX_FRAMES, size: PictureSize | None = None) -> ReadClip:
    """The frames of a GIF or PNG file at equal distances in time, at most `max_frames`, resized to `size` as they are.

    Gamma and colour space are ignored.

    Raises:
        InvalidInput: see `facts_of_clip`; or a frame cannot be decoded.
    """
    facts = facts_of_clip(data)
    numbers = frames_in_time(facts, max_frames)
    wanted = size or PictureSize(facts.rows, facts.columns)
    try:
        chosen = sorted(set(numbers))
        frames = {
            number: np.asarray(resized(frame, wanted), dtype=np.uint8)
            for number, frame in zip(chosen, _decoded(data, chosen), strict=True)
        }
    except _DAMAGES as error:
        raise InvalidInput(f"the clip is damaged or cut short: {first_line(error)}") from error
    return ReadClip(np.stack([frames[number] for number in numbers]), numbers, facts.num_frames)


def read_pictures(files: Sequence[bytes], max_frames: int, size: PictureSize) -> ReadClip:
    """Pictures in PNG files, one for each frame, all of one size.

    Raises:
        InvalidInput: with the index of the first picture that is refused.
    """
    facts_of_pictures(files)
    numbers = evenly(len(files), max_frames)
    frames = []
    for number in numbers:
        try:
            frames.append(read_png(files[number], size))
        except InvalidInput as error:
            raise error.under(number) from error
    return ReadClip(np.stack(frames), numbers, len(files))


def facts_of_pictures(files: Sequence[bytes]) -> ClipFacts:
    """The number of pictures and their common size. Raises InvalidInput with the index of the first that differs."""
    if not files:
        raise InvalidInput("there are no pictures")
    if len(files) > MAX_FRAMES:
        raise InvalidInput(f"there are {len(files):,} pictures, at most {MAX_FRAMES:,} are read")
    first: PictureSize | None = None
    for index, file in enumerate(files):
        try:
            found = size_of_png(file)
        except InvalidInput as error:
            raise error.under(index) from error
        first = first or found
        if found != first:
            sizes = f"{found.columns} x {found.rows} pixels, the first one {first.columns} x {first.rows}"
            raise InvalidInput(f"this picture has {sizes}: all must have one size", (index,))
    assert first is not None, "there is a picture"
    return require_pixels(ClipFacts(len(files), *first))


def resized_frames(frames: Pixels, size: PictureSize) -> Pixels:
    """Frames `[time, rows, columns, 3]` at another size."""
    if frames.shape[1:3] == size:
        return frames
    from PIL import Image

    return np.stack([np.asarray(resized(Image.fromarray(frame), size), dtype=np.uint8) for frame in frames])


def _decoded(data: bytes, numbers: Sequence[int]) -> Iterator[Image]:
    """These frames, in order, as RGB on white. Each is composed with those before it."""
    from PIL import Image

    whole = data if data.startswith(GIF_SIGNATURES) else pixels_alone(data)
    with Image.open(BytesIO(whole), formats=("GIF", "PNG")) as opened:
        # A PNG file may begin with a picture for programs that know no animations.
        before = int(bool(getattr(opened, "default_image", False)))
        for number in numbers:
            if number + before:
                opened.seek(number + before)
            opened.load()
            yield on_white(opened)
