"""The texts of the rows: of the dev sets that the shipped bundles are scored on, and mixtures of lengths."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

#: As `training` finds its data.
_DATA = Path(os.environ.get("UNROLL_DATA_DIR", "data"))
_SEED = 1
NUM_TEXTS = 2_000
_LEAST_WORDS, _MOST_WORDS, _MEDIAN_WORDS, _SIGMA = 8, 256, 32, 0.8
_SHORT_WORDS, _LONG_WORDS, _SHORT_SHARE = 3, 120, 0.8


def intents() -> list[str]:
    """The texts of clinc150's dev set."""
    lines = (_DATA / "clinc150" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return _shuffled([line.split("\t")[2] for line in lines])


def sentences() -> list[str]:
    """The sentences of the dev set of UD English EWT."""
    path = _DATA / "ud_english_ewt" / "en_ewt-ud-dev.conllu"
    lines = path.read_text(encoding="utf-8").splitlines()
    return _shuffled([line.partition("=")[2].strip() for line in lines if line.startswith("# text =")])


def long_tailed() -> list[str]:
    """Texts of the same words, of log-normal length between 8 and 256 words."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.lognormal(np.log(_MEDIAN_WORDS), _SIGMA, NUM_TEXTS)
    return _of_lengths(np.clip(drawn, _LEAST_WORDS, _MOST_WORDS).astype(int).tolist(), rng)


def two_lengths() -> list[str]:
    """80 % of 3 words and 20 % of 120."""
    rng = np.random.default_rng(_SEED)
    is_short = rng.random(NUM_TEXTS) < _SHORT_SHARE
    return _of_lengths(np.where(is_short, _SHORT_WORDS, _LONG_WORDS).tolist(), rng)


def _of_lengths(lengths: Sequence[int], rng: np.random.Generator) -> list[str]:
    words = np.array([word for text in sentences() for word in text.split() if word.isalpha()])
    return [" ".join(rng.choice(words, length)) for length in lengths]


def _shuffled(texts: list[str]) -> list[str]:
    order = np.random.default_rng(_SEED).permutation(len(texts))
    return [texts[place] for place in order[:NUM_TEXTS].tolist()]


#: For each row of the table: the model, and its texts.
ROWS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "intent-en, clinc150": ("intent-en", intents),
    "pos-en, real sentences": ("pos-en", sentences),
    "pos-en, log-normal 8-256 words": ("pos-en", long_tailed),
    "pos-en, 80 % of 3 words, 20 % of 120": ("pos-en", two_lengths),
}
