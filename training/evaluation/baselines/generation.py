"""N-gram language models with Witten-Bell smoothing (Witten and Bell 1991) or Kneser-Ney smoothing, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import UnrollError
from training.data.records import Passage
from training.evaluation.baselines.kneser_ney import kneser_ney
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.scoring import LEAST_CHARACTERS, perplexity, perplexity_per_word

_CHARACTER_ORDER = 6
_TOKEN_ORDER = 3
_KNESER_NEY_ORDER = 5

Ids = NDArray[np.int64]


class _Texts(NamedTuple):
    """Train and dev as token ids, and the text of dev."""

    train_ids: Ids
    dev_ids: Ids
    dev_text: str
    of_characters: bool


def ngram_models(
    train: Sequence[Passage], dev: Sequence[Passage], encode: Encode | None = None
) -> list[BaselineResult]:
    """`ngram_model`, and unless tokens are characters also the stronger Kneser-Ney model."""
    texts = _encoded(train, dev, encode)
    crude = _witten_bell_model(texts)
    if texts.of_characters:
        return [crude]
    probabilities = kneser_ney(texts.train_ids, texts.dev_ids, _KNESER_NEY_ORDER)
    name = f"Kneser-Ney {_KNESER_NEY_ORDER}-gram model of tokens"
    return [crude, BaselineResult(name, _measures(probabilities, texts))]


def ngram_model(train: Sequence[Passage], dev: Sequence[Passage], encode: Encode | None = None) -> BaselineResult:
    """Loss of a model of characters (6-grams), or of a tokenizer's tokens (6-grams if they are characters, else 3).

    As for a network, every token of `dev` but the first is predicted from the tokens before it.
    """
    return _witten_bell_model(_encoded(train, dev, encode))


def _encoded(train: Sequence[Passage], dev: Sequence[Passage], encode: Encode | None) -> _Texts:
    train_text, dev_text = ("\n".join(passage.text for passage in part) for part in (train, dev))
    train_ids, dev_ids = (np.asarray((encode or _code_points)(text), dtype=np.int64) for text in (train_text, dev_text))
    if len(train_ids) == 0 or len(dev_ids) < 2:
        raise UnrollError("an n-gram model needs at least one token to learn from and two to be scored on")
    of_characters = encode is None or len(train_ids) >= LEAST_CHARACTERS * len(train_text)
    return _Texts(train_ids, dev_ids, dev_text, of_characters)


def _witten_bell_model(texts: _Texts) -> BaselineResult:
    order = _CHARACTER_ORDER if texts.of_characters else _TOKEN_ORDER
    unit = "characters" if texts.of_characters else "tokens"
    return BaselineResult(
        f"{order}-gram model of {unit}", _measures(witten_bell(texts.train_ids, texts.dev_ids, order), texts)
    )


def _measures(probabilities: NDArray[np.float64], texts: _Texts) -> dict[str, float]:
    nats = float(-np.log(probabilities[1:]).sum())
    loss = nats / (len(probabilities) - 1)
    per_word = {} if texts.of_characters else perplexity_per_word(nats, [texts.dev_text])
    return {"loss": loss, "perplexity": perplexity(loss), **per_word}


def _code_points(text: str) -> Sequence[int]:
    return [ord(character) for character in text]


def witten_bell(train: Ids, dev: Ids, order: int) -> NDArray[np.float64]:
    """`[len(dev)]`: the probability of each token of `dev` after the `order - 1` tokens before it.

    `p_k = (c(h, w) + t(h) p_{k-1}) / (c(h) + t(h))`, where `h` is the history of k - 1 tokens, `c` counts in `train`
    and `t(h)` is the number of different tokens seen after `h`. `p_0` is uniform over the tokens of `train` and one
    for all others. Near the start of `dev` the history is shorter.
    """
    tokens = np.concatenate([train, dev])
    num_train = len(train)
    probabilities = np.full(len(dev), 1.0 / (len(np.unique(train)) + 1))
    # grams[i] numbers the k-gram that ends at token i, equal grams alike, in train and dev together.
    histories = np.zeros(len(tokens), dtype=np.int64)
    words = np.unique(tokens, return_inverse=True)[1]
    for length in range(1, order + 1):
        grams = np.unique(histories * (words.max() + 1) + words, return_inverse=True)[1]
        seen = slice(length - 1, num_train)
        num_times = np.bincount(grams[seen], minlength=grams.max() + 1)
        num_history = np.bincount(histories[seen], minlength=histories.max() + 1)
        first_of_gram = np.unique(grams[seen], return_index=True)[1] + length - 1
        num_types = np.bincount(histories[first_of_gram], minlength=histories.max() + 1)
        here, history = grams[num_train + length - 1 :], histories[num_train + length - 1 :]
        total = num_history[history] + num_types[history]
        lower = probabilities[length - 1 :]
        mixed = (num_times[here] + num_types[history] * lower) / np.maximum(total, 1)
        probabilities[length - 1 :] = np.where(total > 0, mixed, lower)
        histories = np.concatenate([[0], grams[:-1]])
    return probabilities
