"""Small clips with captions: a coloured square that moves left or right, or stays, and then does something else."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.tiny_pictures import COLOURS, png_of
from training.data.records import CaptionedClip

SIDE, NUM_FRAMES = 16, 6
STEPS = {"moves left": -1, "moves right": 1, "stays": 0}

Pixels = NDArray[np.uint8]


def square_clip(colour: str, actions: tuple[str, str], num_frames: int = NUM_FRAMES, side: int = SIDE) -> Pixels:
    """Frames `[time, side, side, 3]`: the square does the first action in the first half, then the second."""
    frames = np.full((num_frames, side, side, 3), 255, dtype=np.uint8)
    left = side // 2 - 2
    for time, frame in enumerate(frames):
        frame[6:10, max(0, left) : max(0, left) + 4] = COLOURS[colour]
        left += STEPS[actions[int(time >= num_frames // 2)]]
    return frames


def square_clips(count: int, seed: int = 1) -> list[CaptionedClip]:
    """Clips with captions such as `the red square moves left and then stays`."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        colour, first, second = draw.choice(list(COLOURS)), draw.choice(list(STEPS)), draw.choice(list(STEPS))
        caption = f"the {colour} square {first} and then {second}"
        frames = square_clip(colour, (first, second))
        made.append(CaptionedClip(frames, caption, first, second, ("ann", "bob")[number % 2]))
    return made


def gif_of(frames: Pixels, **options: Any) -> bytes:
    """An animated GIF file of `[time, rows, columns, 3]`."""
    return _animated(frames, "GIF", {"loop": 0, "duration": 50, **options})


def apng_of(frames: Pixels, **options: Any) -> bytes:
    """A PNG file with animation."""
    return _animated(frames, "PNG", options)


def _animated(frames: Pixels, kind: str, options: dict[str, Any]) -> bytes:
    pictures = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def as_json(file: bytes) -> dict[str, Any]:
    """A clip in request format."""
    return {"clip": base64.b64encode(file).decode("ascii")}


def as_pictures(frames: Pixels) -> dict[str, Any]:
    """A clip as a list of PNG files, in request format."""
    return {"pictures": [base64.b64encode(png_of(frame)).decode("ascii") for frame in frames]}


def write_clips(folder: Path, records: list[CaptionedClip], name: str = "clips") -> Path:
    """Write the GIF files of `records` and a TSV file of their captions and actions; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file\tcaption\taction\tnext\tgroup"]
    for number, record in enumerate(records):
        (folder / f"{name}-{number}.gif").write_bytes(gif_of(record.frames))
        cells = (f"{name}-{number}.gif", record.caption, record.action, record.next_action, record.group)
        lines.append("\t".join(cells))
    index = folder / f"{name}.tsv"
    index.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return index
