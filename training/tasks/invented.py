"""Invented records, from which the examples of a bundle are made where the data are a user's own.

A bundle is given away, with its examples in the card, on the page and in answers about the model. No record of private
data may stand there. What is invented resembles the data enough to exercise the graphs: frequent words in a random
order, noise with the mean and the deviation of the signals, shapes of colour.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.config.networks import ForecasterConfig
from training.config.recipe import Recipe
from training.data.records import (
    CaptionedClip,
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    ParsedSentence,
    Passage,
    Record,
    SentencePair,
    Series,
    TaggedSentence,
    Utterance,
    text_key,
)
from training.tasks.examples import NUM_EXAMPLES

#: A word that so many different records hold says nothing about one of them.
_RECORDS_OF_WORD: Final = 5
#: Fewer such words than this make too few different texts.
_FEWEST_WORDS: Final = 12
_MOST_WORDS: Final = 300
_LENGTHS: Final = (4, 9)
_TRIES: Final = 200
#: Sounds and frames are no longer than this.
_LONGEST_S: Final = 1.0
_MOST_FRAMES: Final = 256
_PICTURE_SIZE: Final = 64
_CLIP_FRAMES: Final = 8


def invented_records(recipe: Recipe, train: Sequence[Record], dev: Sequence[Record]) -> list[Record]:
    """A few records of the kind of `train`, always the same ones, none of which stands in `train` or `dev`."""
    chance = random.Random(recipe.seed)
    first = train[0]
    match first:
        case LabelledText() | TaggedSentence() | ParsedSentence() | SentencePair() | Passage():
            known = [text for record in (*train, *dev) for text in _texts_of(record)]
            return [_like(first, text) for text in invented_texts(known, chance)]
        case LabelledSignal():
            signals = [record for record in train if isinstance(record, LabelledSignal)]
            made = [_noise(signals, recipe, number) for number in range(NUM_EXAMPLES)]
            return [signals[0]._replace(values=values, label="", group="", stretch="") for values in made]
        case Utterance():
            speech = [record for record in train if isinstance(record, Utterance)]
            made = [_noise(speech, recipe, number) for number in range(NUM_EXAMPLES)]
            return [speech[0]._replace(values=values, text="", group="") for values in made]
        case CaptionedPicture():
            return [CaptionedPicture(_picture(chance), "") for _ in range(NUM_EXAMPLES)]
        case CaptionedClip():
            size = (first.frames.shape[1], first.frames.shape[2])
            return [CaptionedClip(_clip(chance, size), "", "", "") for _ in range(NUM_EXAMPLES)]
        case Series():
            return [_series(first, recipe.network_as(ForecasterConfig), recipe.seed)]
        case _:
            assert_never(first)


def _texts_of(record: Record) -> Iterable[str]:
    """Texts as a caller would write them; of running text its lines."""
    match record:
        case TaggedSentence(words) | ParsedSentence(words):
            return (" ".join(words),)
        case SentencePair(source):
            return (source,)
        case LabelledText(text):
            return (text,)
        case Passage(text):
            return text.splitlines()
        case _:
            return ()


def _like(first: Record, text: str) -> Record:
    """A record of the kind of `first` with this text, and without what is to be predicted."""
    match first:
        case TaggedSentence():
            words = tuple(text.split())
            return TaggedSentence(words, ("",) * len(words))
        case ParsedSentence():
            words = tuple(text.split())
            nothing = ("",) * len(words)
            return ParsedSentence(words, nothing, (0,) * len(words), nothing, nothing)
        case SentencePair():
            return SentencePair(text, "")
        case Passage():
            return Passage(text)
        case _:
            return LabelledText(text, "")


def invented_texts(known: Sequence[str], chance: random.Random, count: int = NUM_EXAMPLES) -> list[str]:
    """Texts of frequent words, or of frequent characters where texts are single words; no text of `known`.

    A text of several words does not stand within one of them either.
    """
    keys = {text_key(text) for text in known}
    inner = {text_key(text) for text in known if len(text.split()) > 1}
    words, characters = _frequent(known)
    num_words = sum(len(text.split()) for text in known)
    of_words = len(words) >= _FEWEST_WORDS and num_words >= 1.5 * len(known)
    texts: list[str] = []
    for _ in range(_TRIES * count):
        text = _text(words, chance, " ") if of_words else _text(characters, chance, "")
        key = text_key(text)
        if key not in keys and text not in texts and not any(other in key for other in inner if len(other) <= len(key)):
            texts.append(text)
        if len(texts) == count:
            break
    return texts or ["?"]


def _text(parts: Sequence[str], chance: random.Random, between: str) -> str:
    return between.join(chance.choice(parts) for _ in range(chance.randint(*_LENGTHS)))


def _frequent(known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words and letters that at least `_RECORDS_OF_WORD` different texts hold, the most frequent first."""
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for text in dict.fromkeys(known):
        words.update({word for word in text.split() if word.isalpha()})
        characters.update({character for character in text if character.isalpha()})
    often = [word for word, count in words.most_common(_MOST_WORDS) if count >= _RECORDS_OF_WORD]
    letters = [letter for letter, count in characters.most_common(_MOST_WORDS) if count >= _RECORDS_OF_WORD]
    return often, letters or list("abcdefghijklmnopqrstuvwxyz")


def _noise(train: Sequence[LabelledSignal] | Sequence[Utterance], recipe: Recipe, number: int) -> NDArray[np.float32]:
    """Noise with the mean and the deviation of each feature; of sound a tone in noise, as loud as the data."""
    generator = np.random.default_rng((recipe.seed, number))
    first = train[0]
    usual = int(np.median([len(record.values) for record in train]))
    limit = recipe.limits.max_input_tokens
    if first.kind == "waveform":
        length = max(1, min(usual, int(_LONGEST_S * first.sample_rate_hz), limit * recipe.signal.samples_per_step))
        loudness = float(np.mean([record.values.std() for record in train])) or 0.1
        tone = np.sin(2 * np.pi * 220.0 * (number + 1) * np.arange(length) / first.sample_rate_hz)
        values: NDArray[Any] = loudness * (tone + 0.5 * generator.standard_normal(length))
    else:
        length = max(1, min(usual, _MOST_FRAMES, limit))
        rows = np.concatenate([record.values for record in train]).astype(np.float64)
        values = rows.mean(axis=0) + rows.std(axis=0) * generator.standard_normal((length, rows.shape[1]))
    return values.astype(np.float32)


def _picture(chance: random.Random) -> bytes:
    """A PNG file: circles of colour on a plain ground."""
    picture = Image.new("RGB", (_PICTURE_SIZE, _PICTURE_SIZE), _colour(chance))
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y, size = (chance.randrange(8, _PICTURE_SIZE - 8) for _ in range(3))
        draw.ellipse((x - size // 3, y - size // 3, x + size // 3, y + size // 3), fill=_colour(chance))
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def _clip(chance: random.Random, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Frames `[time, rows, columns, 3]`: a circle of colour that moves over a plain ground."""
    rows, columns = size
    ground, colour = _colour(chance), _colour(chance)
    x, y, radius = chance.uniform(0.4, 0.6), chance.uniform(0.4, 0.6), chance.uniform(0.1, 0.2)
    right, down = chance.uniform(-0.04, 0.04), chance.uniform(-0.04, 0.04)
    frames = []
    for _ in range(_CLIP_FRAMES):
        frame = Image.new("RGB", (columns, rows), ground)
        corners = [((x + side * radius) * columns, (y + side * radius) * rows) for side in (-1, 1)]
        ImageDraw.Draw(frame).ellipse(corners, fill=colour)
        frames.append(np.asarray(frame, dtype=np.uint8))
        x, y = x + right, y + down
    return np.stack(frames)


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _series(train: Series, config: ForecasterConfig, seed: int) -> Series:
    """Waves of the series' period in noise, with the mean and the deviation of each channel."""
    generator = np.random.default_rng(seed)
    num_rows = config.look_back + config.horizon + NUM_EXAMPLES
    steps = np.arange(num_rows)[:, None]
    shape = (num_rows, len(train.channels))
    phase = generator.uniform(0, 2 * np.pi, shape[1])
    wave = np.sin(2 * np.pi * steps / max(2, config.period) + phase) + 0.3 * generator.standard_normal(shape)
    values = np.nanmean(train.values, axis=0) + np.nanstd(train.values, axis=0) * wave
    return train._replace(values=np.round(values, 4), times=(), num_new=num_rows)
