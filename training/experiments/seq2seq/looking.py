"""Naming the signs of a picture in order, with soft and with hard attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from service.bundle.tokenizer import BOS, EOS
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.networks.visual.captioner import Captioner
from training.preprocessing.batches import CaptioningBatch

IntArray = NDArray[Any]

NUM_SPECIAL = 4
#: Signs of five by five pixels, drawn row by row.
SIGNS = {
    "cross": "..#.. ..#.. ##### ..#.. ..#..",
    "saltire": "#...# .#.#. ..#.. .#.#. #...#",
    "square": "##### #...# #...# #...# #####",
    "diamond": "..#.. .#.#. #...# .#.#. ..#..",
    "bars": "##### ..... ##### ..... #####",
    "poles": "#.#.# #.#.# #.#.# #.#.# #.#.#",
    "corner": "#.... #.... #.... #.... #####",
    "roof": "..... ..#.. .#.#. #...# .....",
}
SHAPES = [np.array([[dot == "#" for dot in line] for line in sign.split()]) for sign in SIGNS.values()]
#: Pixels of a place of the grid, which a sign lies in the middle of.
PLACE = 8
MIDDLE = slice(1, 6)


@dataclass(frozen=True)
class Settings:
    """Pictures of `grid` x `grid` places with so many signs in them; a text names the signs row by row."""

    signs: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    grid: int = 6
    seeds: int = 3
    batch: int = 32
    num_steps: int = 1500
    learning_rate: float = 0.002
    num_asked: int = 400
    channels: int = 32
    hidden: int = 64


@dataclass(frozen=True)
class Signs:
    """Pictures with their texts, and `places` `[batch, longest]`: which place each word is about, -1 after the last."""

    batch: CaptioningBatch
    places: Tensor


def sign_pictures(rows: int, numbers: Sequence[int], grid: int, draw: Generator) -> Signs:
    """Signs of random kinds and colours at random places of a picture, as many as one of `numbers`."""
    pixels = draw.integers(0, 60, size=(rows, grid * PLACE, grid * PLACE, 3)).astype(np.uint8)
    texts, places = np.zeros((rows, max(numbers) + 1), dtype=np.int64), np.full((rows, max(numbers)), -1)
    for picture, text, where in zip(pixels, texts, places, strict=True):
        number = int(draw.choice(numbers))
        where[:number] = np.sort(draw.permutation(grid * grid)[:number])
        text[: number + 1] = [*(NUM_SPECIAL + draw.integers(len(SIGNS), size=number)), EOS]
        for place, word in zip(where[:number], text, strict=False):
            _paint(picture, int(place), SHAPES[word - NUM_SPECIAL], draw.integers(120, 256, size=3))
    outputs = torch.from_numpy(texts)
    inputs = torch.cat([torch.full((rows, 1), BOS), outputs[:, :-1].masked_fill(outputs[:, :-1] == EOS, 0)], dim=1)
    never = torch.zeros(rows, dtype=torch.bool)
    return Signs(CaptioningBatch(torch.from_numpy(pixels), never, inputs, outputs), torch.from_numpy(places))


def _paint(picture: IntArray, place: int, shape: IntArray, colour: IntArray) -> None:
    grid = len(picture) // PLACE
    top, left = PLACE * (place // grid), PLACE * (place % grid)
    picture[top : top + PLACE, left : left + PLACE][MIDDLE, MIDDLE][shape] = colour


def network_of(settings: Settings, is_hard: bool) -> Captioner:
    """The project's captioner, in which a place of the grid sees little of its neighbours."""
    config = CaptionerConfig(
        image_rows=settings.grid * PLACE,
        image_columns=settings.grid * PLACE,
        channels=(settings.channels // 2, settings.channels, settings.channels),
        convolutions=1,
        embedding_size=settings.hidden // 2,
        hidden_size=settings.hidden,
        attention_size=settings.hidden,
        hard_attention=is_hard,
        dropout=0.0,
        label_smoothing=0.0,
    )
    return Captioner(config, PictureConfig(), NUM_SPECIAL + len(SIGNS))


@dataclass(frozen=True)
class _Scores:
    """Percentages by number of signs, and the CPU seconds of an update."""

    words: list[float]
    pointed: list[float]
    largest: list[float]
    update_s: float


def _train(is_hard: bool, seed: int, settings: Settings) -> _Scores:
    draw = np.random.default_rng(seed)
    with seeded(seed):
        network = network_of(settings, is_hard)

        def loss_of(_step: int) -> Tensor:
            return network.loss(sign_pictures(settings.batch, settings.signs, settings.grid, draw).batch)[0]

        history = fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate))
    network.eval()
    asked = [sign_pictures(settings.num_asked, [number], settings.grid, draw) for number in settings.signs]
    words, pointed, largest = zip(*(measures(network, signs) for signs in asked), strict=True)
    return _Scores(list(words), list(pointed), list(largest), history.cpu_s / settings.num_steps)


@torch.no_grad()
def measures(network: Captioner, signs: Signs) -> tuple[float, float, float]:
    """Percentages, teacher forced: words that are right, words at whose sign it looked most, and its largest weight."""
    batch, places = signs.batch, signs.places
    memory, keys, state = network.encode(batch.pixels)
    lengths = torch.full((len(memory),), memory.shape[1])
    logits, weights, _ = network.decode(batch.target_inputs, memory, keys, lengths, state)
    right = (logits.argmax(dim=2) == batch.target_outputs)[:, :-1]
    largest, looked = weights[:, :-1].max(dim=2)
    return tuple(100 * float(found.float().mean()) for found in (right, looked == places, largest))  # type: ignore[return-value]


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train both kinds with every seed, and measure them for every number of signs."""
    rows: list[Row] = []
    words, pointed = list[Line](), list[Line]()
    for kind in ("soft", "hard"):
        runs = [_train(kind == "hard", seed, settings) for seed in range(1, settings.seeds + 1)]
        update_ms = 1000 * mean([each.update_s for each in runs])
        for index, number in enumerate(settings.signs):
            found = [[getattr(each, name)[index] for each in runs] for name in ("words", "pointed", "largest")]
            rows.append((kind, number, *(f(values) for values in found for f in (mean, spread)), update_ms))
            tell(f"{kind}, {number} signs: " + ", ".join(f"{mean(values):.1f} %" for values in found))
        for lines, name in ((words, "words"), (pointed, "pointed")):
            by_number = list(zip(*(getattr(each, name) for each in runs), strict=True))
            means, spreads = [mean(v) for v in by_number], [spread(v) for v in by_number]
            lines.append(Line(kind, settings.signs, means, spreads))
    chance = {"anywhere": 100 / settings.grid**2}
    panels = [
        Panel("Words", "signs in the picture", "right, %", words, levels={"guessing": 100 / len(SIGNS)}),
        Panel("Where it looks", "signs in the picture", "at the sign it names, %", pointed, levels=chance),
    ]
    percent = dict.fromkeys(("words right, %", "± ", "looks at its sign, %", "±  ", "largest weight, %", "±   "), ".1f")
    columns = {"attention": "", "signs": "d", **percent, "an update, ms": ".0f"}
    return Outcome([Table(columns, rows)], panels)


LOOKING = Experiment(
    "looking",
    "Soft or hard attention: which names more, and which looks where it should?",
    Settings(),
    Settings(signs=(1, 2), grid=2, seeds=1, batch=4, num_steps=2, num_asked=4, channels=4, hidden=8),
    run,
)
