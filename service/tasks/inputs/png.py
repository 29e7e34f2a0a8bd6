"""PNG files to pixels: any mode of the format, on white, resized to the input size of a model.

Pillow decodes them. It is imported by the first model that reads pictures, so that a service without one starts
faster. The size in the header is checked before anything is decoded, because a few bytes can declare gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

#: A picture of 4 million pixels is decoded in about 50 ms, and needs 16 MB of memory.
MAX_PIXELS = 1 << 22
MAX_PNG_BYTES = 1 << 23

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: After the signature: length and name of the first chunk, then width and height.
_HEAD = struct.Struct(">I4sII")
#: The first bytes of other file formats, for error messages.
_OTHER_KINDS: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "a JPEG file",
    b"GIF8": "a GIF file",
    b"BM": "a BMP file",
    b"RIFF": "a WebP or another RIFF file",
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"%PDF": "a PDF file",
    b"<": "an SVG file or another text with tags",
}
_WHITE = 255

_CHUNK_HEAD = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
_CHUNKS_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


class PictureSize(NamedTuple):
    """In pixels."""

    rows: int
    columns: int


def require_pillow() -> None:
    """Import Pillow. Raises ImportError that says what to install."""
    try:
        import PIL.PngImagePlugin  # noqa: F401  # the first import is slow, and belongs to the start
    except ImportError as error:
        raise ImportError("a model that reads pictures needs the package `pillow`: pip install pillow") from error


def size_of_png(data: bytes) -> PictureSize:
    """The size in the header of the file; no pixels are decoded.

    Raises:
        InvalidInput: it is not a PNG file, or too large.
    """
    if not data:
        raise InvalidInput("the file is empty")
    if not data.startswith(SIGNATURE):
        raise InvalidInput(f"this is no PNG file but {kind_of_file(data)}: send the picture as PNG")
    if len(data) > MAX_PNG_BYTES:
        raise InvalidInput(f"the file has {len(data):,} bytes, at most {MAX_PNG_BYTES:,} are read")
    if len(data) < len(SIGNATURE) + _HEAD.size:
        raise InvalidInput("the PNG file is cut short: it ends within its head")
    _, name, columns, rows = _HEAD.unpack_from(data, len(SIGNATURE))
    if name != b"IHDR" or not rows or not columns:
        raise InvalidInput("the PNG file is damaged: it does not begin with its size")
    if rows * columns > MAX_PIXELS:
        raise InvalidInput(f"the picture has {columns} x {rows} pixels, at most {MAX_PIXELS:,} in all are read")
    return PictureSize(rows, columns)


def kind_of_file(data: bytes) -> str:
    """What another file is by its first bytes, for error messages."""
    return next((name for start, name in _OTHER_KINDS.items() if data.startswith(start)), "another kind of file")


def read_png(data: bytes, size: PictureSize) -> Pixels:
    """`[rows, columns, 3]`, RGB: the picture on white, resized to `size` without keeping its proportions.

    Of an animation the first frame is read. Gamma and colour space of the file are ignored.

    Raises:
        InvalidInput: it is not a PNG file, damaged, or too large.
    """
    size_of_png(data)
    try:
        picture = _decoded(data)
    except (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError) as error:
        raise InvalidInput(f"the PNG file is damaged or cut short: {first_line(error)}") from error
    return np.asarray(resized(picture, size), dtype=np.uint8)


def _decoded(data: bytes) -> Image:
    """The picture as RGB on white."""
    from PIL import Image

    with Image.open(BytesIO(_pixels_alone(data)), formats=("PNG",)) as opened:
        opened.load()
        return on_white(opened)


def on_white(picture: Image) -> Image:
    """A decoded picture of any mode as RGB on white."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        wide = np.asarray(picture, dtype=np.int64)
        return Image.fromarray((wide >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" not in picture.mode and "transparency" not in picture.info:
        return picture.convert("RGB")
    coloured = picture.convert("RGBA")
    paper = Image.new("RGBA", coloured.size, (_WHITE,) * 4)
    return Image.alpha_composite(paper, coloured).convert("RGB")


def _pixels_alone(data: bytes) -> bytes:
    """The file without the chunks that say nothing about its pixels.

    Texts and colour profiles are compressed too, and a few bytes of them inflate to megabytes. The pixels cannot: no
    more of them are inflated than the header declares.
    """
    kept, start = [SIGNATURE], len(SIGNATURE)
    while start + _CHUNK_HEAD.size <= len(data):
        size, name = _CHUNK_HEAD.unpack_from(data, start)
        end = start + _CHUNK_HEAD.size + size + _CHECKSUM_BYTES
        if name in _CHUNKS_OF_PIXELS:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


def resized(picture: Image, size: PictureSize) -> Image:
    """A picture at another size, whatever its proportions."""
    from PIL.Image import Resampling

    wanted = size.columns, size.rows
    return picture if picture.size == wanted else picture.resize(wanted, Resampling.BILINEAR)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or else its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
