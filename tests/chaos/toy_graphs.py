"""Small numpy graphs whose outputs depend on their own row alone, in exact integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.padding import lengths_of, pad_ids
from service.errors import InferenceFailed
from service.tasks.core.task import Array, Runner

_MODULUS = 8191
_NUM_SCORES = 512


class ToyLanguageModel:
    """The graphs `prompt` and `step` of a language model whose state is a hash of all tokens of the row."""

    def __init__(self, vocabulary_size: int) -> None:
        scores = np.random.default_rng(5).normal(size=(_NUM_SCORES, vocabulary_size))
        self._scores = scores.astype(np.float32)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if graph == "step":
            return self._step(feeds["token"], feeds["hidden"], feeds["cell"])
        tokens, lengths, hidden, cell = (feeds[name] for name in ("tokens", "lengths", "hidden", "cell"))
        logits = np.zeros((*tokens.shape, self._scores.shape[1]), np.float32)
        for time in range(tokens.shape[1]):
            after, is_inside = self._step(tokens[:, time], hidden, cell), (lengths > time)[None, :, None]
            hidden = np.where(is_inside, after["next_hidden"], hidden)
            cell = np.where(is_inside, after["next_cell"], cell)
            logits[:, time] = after["logits"]
        return {"logits": logits, "next_hidden": hidden, "next_cell": cell}

    def _step(self, token: Array, hidden: Array, cell: Array) -> dict[str, Array]:
        places = np.arange(hidden.shape[2])
        hidden = (hidden.astype(np.int64) * 31 + token[None, :, None] * 7 + places) % _MODULUS
        cell = (cell.astype(np.int64) * 17 + hidden) % _MODULUS
        scores = self._scores[(hidden[0, :, 0] + cell[0, :, 1]) % _NUM_SCORES]
        return {"logits": scores, "next_hidden": hidden.astype(np.float32), "next_cell": cell.astype(np.float32)}


@dataclass(frozen=True)
class ToyText:
    """An input of the toy tagger."""

    token_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.token_ids)


class ToyTagger:
    """A task whose graph hashes each sequence without its padding."""

    def run(self, runner: Runner, examples: Sequence[ToyText]) -> list[float]:
        sequences = [list(example.token_ids) for example in examples]
        outputs = runner.run("toy", {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)})
        return [float(score) for score in outputs["logits"]]

    def plain_answer(self, example: ToyText, output: float) -> tuple[int, float]:
        """Raises InferenceFailed if this row's number is not finite."""
        if not np.isfinite(output):
            raise InferenceFailed("not a finite number")
        return example.length, output


class ToyTaggerGraph:
    """The graph of `ToyTagger`."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        del graph  # there is only one
        tokens, lengths = feeds["tokens"], feeds["lengths"]
        state = np.ones(len(tokens), np.int64)
        for time in range(tokens.shape[1]):
            state = np.where(lengths > time, (state * 31 + tokens[:, time]) % _MODULUS, state)
        return {"logits": state.astype(np.float32)}
