"""Clips that are made on this machine: pictures of things that move, grow, shrink, turn or stay, with captions.

A clip has 16 frames of 48 x 48 pixels. Each of its one or two things does one thing in the first half and another in
the second half. What comes second follows from what came first in four of five cases, and else is left to chance, so
that it can be foretold from the first half, but not always.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.Image import Resampling

from service.errors import UnrollError
from training.data.public.named_dataset import MovingPictures

NUM_FRAMES, SIDE = 16, 48
#: Side of a thing before it grows or shrinks, and the least side.
_THING_SIDE, _LEAST_SIDE = 20, 6
#: Share of the clips with two things; of the second actions that follow the rule; of the clips with noise.
_TWO_THINGS, _BY_RULE, _NOISY = 0.3, 0.8, 0.5
#: Pixels of a step; growth of a step; degrees of a step; standard deviation of the noise.
_STEP, _GROWTH, _TURN_DEGREES, _NOISE = (1.2, 2.0), 0.07, 22.5, 4.0
#: Where the centre of a thing starts: alone, or the left one of two, which stand so far apart.
_START, _LEFT_START, _APART = (18.0, 30.0), (12.0, 20.0), 18.0
_WHITE = (255, 255, 255)


class Motion(NamedTuple):
    """What a thing does from frame to frame: steps to the right and down, growth, and turns, each -1, 0 or 1."""

    right: int = 0
    down: int = 0
    growth: int = 0
    turn: int = 0


MOTIONS: Mapping[str, Motion] = {
    "moves left": Motion(right=-1),
    "moves right": Motion(right=1),
    "moves up": Motion(down=-1),
    "moves down": Motion(down=1),
    "grows": Motion(growth=1),
    "shrinks": Motion(growth=-1),
    "turns": Motion(turn=1),
    "stays": Motion(),
}
ACTIONS = tuple(MOTIONS)
#: What usually comes after each action.
FOLLOWS: Mapping[str, str] = {
    "moves left": "moves up",
    "moves up": "moves right",
    "moves right": "moves down",
    "moves down": "moves left",
    "grows": "shrinks",
    "shrinks": "turns",
    "turns": "stays",
    "stays": "grows",
}


class MadeClip(NamedTuple):
    """Frames uint8 `[time, rows, columns, 3]`, the caption, and both actions of the thing that is named first."""

    frames: NDArray[np.uint8]
    caption: str
    action: str
    next_action: str


class _Thing(NamedTuple):
    picture: Image.Image
    name: str
    actions: tuple[str, str]
    x: float
    y: float
    step: float


def make_split(source: Path, made: MovingPictures, names: Sequence[str], target: Path) -> None:
    """Write `target`, a TSV file (clip, caption, action, next), and the frames in the NumPy archive beside it.

    Args:
        source: the table of the pictures, with an archive for each of the vendors beside it.
        names: the things to show, as the captions of the pictures in lower case.
        target: written last, so that a split without it is made again.

    Raises:
        UnrollError: there is no picture of one of the names.
    """
    pictures = read_pictures(source, made.vendors, names)
    clips = list(made_clips(pictures, made.count, made.seed))
    archive, partial = target.with_suffix(".npz"), f".partial-{os.getpid()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(partial).open("wb") as file:
        np.savez_compressed(file, frames=np.stack([clip.frames for clip in clips]))
    archive.with_suffix(partial).replace(archive)
    rows = [f"{number}\t{clip.caption}\t{clip.action}\t{clip.next_action}" for number, clip in enumerate(clips)]
    lines = ["clip\tcaption\taction\tnext", *rows]
    target.with_suffix(partial).write_text("\n".join(lines) + "\n", encoding="utf-8")
    target.with_suffix(partial).replace(target)


def read_pictures(source: Path, vendors: Sequence[str], names: Sequence[str]) -> dict[str, list[Image.Image]]:
    """The pictures of each name, in the order of the names and of the vendors. Raises UnrollError if one has none."""
    found: dict[str, list[Image.Image]] = {name: [] for name in names}
    with source.open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["caption_en"].lower() in found]
    for vendor in vendors:
        archive = source.with_name(f"{source.stem}_{vendor}.zip")
        if not archive.is_file():
            raise UnrollError(f"there are no pictures of the vendor {vendor!r}: no {archive.name} beside {source}")
        with zipfile.ZipFile(archive) as packed:
            for row in rows:
                if row["vendor"] == vendor:
                    picture = Image.open(io.BytesIO(packed.read(row["file"]))).convert("RGB")
                    found[row["caption_en"].lower()].append(picture)
    missing = [name for name, pictures in found.items() if not pictures]
    if missing:
        raise UnrollError(f"{source}: no picture is called {missing[0]!r} by {', '.join(vendors)}")
    return found


def made_clips(pictures: Mapping[str, Sequence[Image.Image]], count: int, seed: int) -> Iterator[MadeClip]:
    """Clips of these pictures; equal settings give equal clips, and a clip does not depend on their number."""
    for number in range(count):
        yield made_clip(pictures, np.random.default_rng((seed, number)))


def made_clip(pictures: Mapping[str, Sequence[Image.Image]], chance: np.random.Generator) -> MadeClip:
    """One clip of one or two things."""
    num_things = 2 if len(pictures) > 1 and chance.random() < _TWO_THINGS else 1
    chosen = chance.choice(list(pictures), num_things, replace=False)
    things = [_thing(str(name), pictures[str(name)], place, num_things, chance) for place, name in enumerate(chosen)]
    frames = np.stack([_frame(things, time) for time in range(NUM_FRAMES)])
    if chance.random() < _NOISY:
        noisy = frames + chance.normal(0.0, _NOISE, frames.shape)
        frames = noisy.round().clip(0, 255).astype(np.uint8)
    return MadeClip(frames, " while ".join(map(_said_of, things)), *things[0].actions)


def _thing(
    name: str, pictures: Sequence[Image.Image], place: int, num_things: int, chance: np.random.Generator
) -> _Thing:
    """A thing with its two actions and where it starts; of two, place 0 is the left one."""
    first = ACTIONS[int(chance.integers(len(ACTIONS)))]
    second = FOLLOWS[first] if chance.random() < _BY_RULE else ACTIONS[int(chance.integers(len(ACTIONS)))]
    x = chance.uniform(*_START) if num_things == 1 else chance.uniform(*_LEFT_START) + place * _APART
    picture = pictures[int(chance.integers(len(pictures)))]
    return _Thing(picture, name, (first, second), x, chance.uniform(*_START), chance.uniform(*_STEP))


def _said_of(thing: _Thing) -> str:
    """`the crab moves right and then moves down`; one action that goes on is said once."""
    first, second = thing.actions
    return f"the {thing.name} {first}" + ("" if first == second else f" and then {second}")


def _frame(things: Sequence[_Thing], time: int) -> NDArray[np.uint8]:
    """One frame; where things overlap, the darker one is seen, so that white is transparent."""
    ground = Image.new("RGB", (SIDE, SIDE), _WHITE)
    for thing in things:
        sheet = Image.new("RGB", (SIDE, SIDE), _WHITE)
        drawn, corner = _placed(thing, time)
        sheet.paste(drawn, corner)
        ground = ImageChops.darker(ground, sheet)
    return np.asarray(ground, dtype=np.uint8)


def _placed(thing: _Thing, time: int) -> tuple[Image.Image, tuple[int, int]]:
    """A thing as it looks at a time, and the place of its upper left corner."""
    half = NUM_FRAMES // 2
    first, second = (MOTIONS[action] for action in thing.actions)
    # Steps of each motion that lie behind: frame 0 shows none, and the frame after the half the whole first one.
    early, late = min(time, half), max(0, time - half)
    right, down = (early * a + late * b for a, b in zip(first[:2], second[:2], strict=True))
    scale = (1.0 + _GROWTH * first.growth) ** early * (1.0 + _GROWTH * second.growth) ** late
    side = max(_LEAST_SIDE, round(_THING_SIDE * scale))
    drawn = thing.picture.resize((side, side), Resampling.BILINEAR)
    angle = _TURN_DEGREES * (early * first.turn + late * second.turn)
    if angle:
        drawn = drawn.rotate(angle, Resampling.BILINEAR, fillcolor=_WHITE)
    x, y = thing.x + thing.step * right, thing.y + thing.step * down
    return drawn, (round(x - side / 2), round(y - side / 2))
