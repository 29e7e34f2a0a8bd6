"""The corpora of the benchmark: the same items for every target, each with the correct answer.

Peers receive `ids`; the service receives text. `answers.py` creates the files.
"""

from __future__ import annotations

import json
import string
from typing import Any

from tests.load.places import CORPORA

Item = dict[str, Any]

NUM_WORDS = 50_000
NUM_TRANSLATION_WORDS = 8_000
NUM_CHARACTERS = 65
#: The vocabularies begin with four special tokens.
NUM_SPECIAL_TOKENS = 4
CHARACTERS = (string.ascii_letters + string.digits)[: NUM_CHARACTERS - NUM_SPECIAL_TOKENS]

NUM_SENTENCES = 2_000
MEAN_LENGTH, SIGMA, MAX_LENGTH = 20, 0.6, 120
#: Sentences of very different lengths.
LEAST_OF_MIXED, MOST_OF_MIXED = 3, 128
NUM_PROMPTS = 64
MAX_NEW_TOKENS, FEW_NEW_TOKENS, LEAST_NEW_TOKENS = 500, 60, 10
NUM_SOURCES, SOURCE_WORDS, NUM_STEPS = 64, 19, 60


def load_corpus(name: str) -> list[Item]:
    """Return the items of one corpus. Raises FileNotFoundError before `build_corpora` has run."""
    items: list[Item] = json.loads((CORPORA / f"{name}.json").read_text(encoding="utf-8"))
    return items
