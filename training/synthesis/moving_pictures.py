"""Moving pictures: clips made of the pictures of a public data set, for training on more or other ones than it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.errors import UnrollError
from training.data.public.locate import locate
from training.data.public.moving_pictures import make_split
from training.data.public.named_dataset import MovingPictures


@dataclass(frozen=True)
class PicturesRequest:
    """Which pictures make how many clips: `names` is a file, `vendors` are separated by commas."""

    dataset: str
    split: str
    vendors: str
    names: Path
    count: int
    seed: int


def synthesize_moving_pictures(request: PicturesRequest, out: Path) -> Path:
    """Write the table `out` and the frames beside it, and return the table.

    Raises:
        DatasetUnavailable: the pictures are missing.
        UnrollError: there is no such file of names, or no picture of one of them.
    """
    try:
        lines = request.names.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UnrollError(f"{request.names} cannot be read: {error.strerror}") from error
    names = [line.strip().lower() for line in lines if line.strip()]
    if not names:
        raise UnrollError(f"{request.names} names no thing: write one a line")
    vendors = tuple(vendor.strip() for vendor in request.vendors.split(",") if vendor.strip())
    if not vendors:
        raise UnrollError("--vendors names nobody: name some, separated by commas")
    made = MovingPictures(
        dataset=request.dataset,
        split=request.split,
        vendors=vendors,
        names=request.names.name,
        count=request.count,
        seed=request.seed,
    )
    make_split(locate(request.dataset, request.split), made, names, out)
    return out
