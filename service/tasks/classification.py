"""Classification: one label for a whole text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import lengths_of, pad_ids
from service.errors import InvalidInput
from service.tasks.base import (
    Answer,
    Array,
    Parameters,
    Runner,
    require_at_most,
    require_short_text,
    require_words,
)
from service.tasks.probabilities import require_finite, softmax


class ClassificationParameters(Parameters):
    """How much of the distribution to show."""

    top_k: int | None = Field(default=None, ge=1, description="also list the so many most likely labels")


class LabelScore(Answer):
    """A label and its probability, 0 to 1."""

    label: str
    score: float


class ClassificationAnswer(Answer):
    """The most likely label; `top_k` only if asked for, at most as long as there are labels."""

    label: str
    score: float = Field(description="probability of the label, 0 to 1")
    top_k: list[LabelScore] | None = Field(default=None, exclude_if=lambda labels: labels is None)


@dataclass(frozen=True)
class ClassificationExample:
    """One text, encoded."""

    token_ids: list[int]
    top_k: int | None

    @property
    def length(self) -> int:
        return len(self.token_ids)


class Classification:
    """A text to a label. The output of `run` for one example is its logits, float32 `[labels]`."""

    parameters_type = ClassificationParameters

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.manifest.labels
        self._max_tokens = bundle.manifest.limits.max_input_tokens
        self._tokenizer = bundle.tokenizers["text"]

    def preprocess(self, value: str | Sequence[str], parameters: ClassificationParameters) -> ClassificationExample:
        """Encode a text, or words that the caller has cut, one token each."""
        if isinstance(value, str):
            token_ids = self._tokenizer.encode(require_short_text(value, self._max_tokens))
        else:
            token_ids = self._tokenizer.encode_words(require_words(value, self._max_tokens))
        if not token_ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(token_ids), self._max_tokens, "tokens")
        return ClassificationExample(token_ids, parameters.top_k)

    def run(self, runner: Runner, examples: Sequence[ClassificationExample]) -> list[Array]:
        sequences = [example.token_ids for example in examples]
        feeds = {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}
        return list(runner.run("classifier", feeds)["logits"].copy())

    def postprocess(self, example: ClassificationExample, output: Array) -> ClassificationAnswer:
        probabilities = softmax(require_finite(output, "label scores"))
        order = np.argsort(-probabilities, kind="stable")[: example.top_k or 1]
        ranked = [LabelScore(label=self._labels[index], score=float(probabilities[index])) for index in order]
        best = ranked[0]
        return ClassificationAnswer(label=best.label, score=best.score, top_k=ranked if example.top_k else None)
