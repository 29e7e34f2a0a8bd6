"""Small pictures with captions: a coloured shape on white, as PNG files."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.records import CaptionedPicture

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "bar")
SIDE = 16


def png_of(pixels: NDArray[np.uint8], mode: str = "RGB") -> bytes:
    """A PNG file of `[rows, columns, 3]`, converted to the given Pillow mode."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def shape_picture(colour: str, shape: str, shift: int = 0) -> bytes:
    """One shape: a horizontal bar, or a square in the middle."""
    pixels = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    top, bottom = (4, 12) if shape == "square" else (7, 10)
    pixels[top:bottom, 3 + shift : 13 + shift] = COLOURS[colour]
    return png_of(pixels)


def shape_pictures(count: int, seed: int = 1) -> list[CaptionedPicture]:
    """Pictures with captions such as `a red square`, by two painters."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        colour, shape = draw.choice(list(COLOURS)), draw.choice(SHAPES)
        png = shape_picture(colour, shape, draw.randint(-2, 2))
        made.append(CaptionedPicture(png, f"a {colour} {shape}", ("ann", "bob")[number % 2]))
    return made


def write_pictures(folder: Path, records: list[CaptionedPicture], name: str = "pictures") -> Path:
    """Write the PNG files of `records` and a TSV file of their captions; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file\tcaption\tgroup"]
    for number, record in enumerate(records):
        (folder / f"{name}-{number}.png").write_bytes(record.png)
        lines.append(f"{name}-{number}.png\t{record.caption}\t{record.group}")
    index = folder / f"{name}.tsv"
    index.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return index


def as_json(png: bytes) -> dict[str, str]:
    """A picture in request format."""
    return {"png": base64.b64encode(png).decode("ascii")}
