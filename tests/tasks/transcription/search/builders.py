"""A decoder over a few characters, a language model made by hand, and the answers of brute force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, product

import numpy as np

from service.bundle.manifest import GraphSpec, TensorSpec
from service.bundle.padding import FloatArray
from service.bundle.tokenizer import EOS, TextTokenizer
from service.tasks.core.task import Array
from service.tasks.transcription.decoder import BLANK
from service.tasks.transcription.search.language_model import LanguageModel
from service.tasks.transcription.search.prefix_beam import Pruning
from service.tasks.transcription.search.spelling import Spelling
from tests.tasks.builders import character_tokenizer

#: Looks at everything.
NO_PRUNING = Pruning(certain_blank=1.0, min_probability=0.0, max_tokens=1000, max_gap=np.inf)


def characters(alphabet: str) -> TextTokenizer:
    """A tokenizer whose ids 4 and on are the characters, in order of the alphabet."""
    return character_tokenizer(alphabet)


def spelling(alphabet: str) -> Spelling:
    return Spelling(characters(alphabet), "character")


def text_of(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    return "".join(tokenizer.token(number) for number in ids)


def ids_of(tokenizer: TextTokenizer, text: str) -> list[int]:
    return tokenizer.encode(text)


def some_log_probs(generator: np.random.Generator, num_steps: int, num_tokens: int, sharpness: float) -> FloatArray:
    """`[steps, 4 + tokens]`: the tokens 1 to 3 are never written."""
    logits = generator.normal(size=(num_steps, EOS + 1 + num_tokens)) * sharpness
    logits[:, 1 : EOS + 1] = -60.0
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)


def sums_of_all_alignments(log_probs: FloatArray) -> dict[tuple[int, ...], float]:
    """The log-probability of every text: the sum over all alignments that write it."""
    ids = [BLANK, *range(EOS + 1, log_probs.shape[1])]
    sums: dict[tuple[int, ...], float] = {}
    for path in product(ids, repeat=len(log_probs)):
        text = tuple(token for token, _ in groupby(path) if token != BLANK)
        score = float(log_probs[np.arange(len(path)), list(path)].astype(np.float64).sum())
        sums[text] = float(np.logaddexp(sums.get(text, -np.inf), score))
    return sums


class BigramModel:
    """A runner of the graph `language_model`: its state is the last token read, its scores are rows of a table.

    `table` `[vocabulary, vocabulary]` holds logits of the next token by the last; `runs` are the tokens of each run.
    """

    def __init__(self, table: Array) -> None:
        self._table = np.asarray(table, dtype=np.float32)
        self.runs: list[list[int]] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert graph == "language_model"
        tokens = feeds["token"]
        assert feeds["hidden"].shape == (1, len(tokens), 2)
        self.runs.append(tokens.tolist())
        state = np.stack([tokens, feeds["hidden"][0, :, 1] + 1], axis=1)[None].astype(np.float32)
        return {"logits": self._table[tokens], "next_hidden": state}

    def model(self, own: TextTokenizer, recogniser: TextTokenizer) -> LanguageModel:
        return LanguageModel(step_spec(own.vocabulary_size), own, recogniser)


def step_spec(vocabulary_size: int) -> GraphSpec:
    hidden = (1, "batch", 2)
    inputs = (
        TensorSpec(name="token", dtype="int64", shape=("batch",)),
        TensorSpec(name="hidden", dtype="float32", shape=hidden),
    )
    outputs = (
        TensorSpec(name="logits", dtype="float32", shape=("batch", vocabulary_size)),
        TensorSpec(name="next_hidden", dtype="float32", shape=hidden),
    )
    return GraphSpec(file="language_model.onnx", inputs=inputs, outputs=outputs)
