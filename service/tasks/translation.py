"""Translation: an encoder reads the source once, an attention decoder writes the target step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.manifest import TranslationOptions
from service.bundle.tokenizer import EOS, SPECIAL_TOKENS
from service.errors import InvalidInput, UnrollError
from service.tasks.base import (
    Answer,
    Parameters,
    PredictInput,
    Reading,
    Runner,
    Verdict,
    kind_of,
    reading_of,
    require_at_most,
    require_at_most_new_tokens,
    require_short_text,
)
from service.tasks.sentence_search import Hypothesis, SearchPlan
from service.tasks.translation_batch import TranslationBatch, TranslationExample, TranslationOutcome


class TranslationParameters(Parameters):
    """How to search. What is left out, the model's manifest decides."""

    num_beams: int | None = Field(default=None, ge=1, le=16, description="hypotheses kept at each step; 1 is greedy")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="most tokens to write, the end token counted; default twice the source plus 20"
    )
    length_penalty: float | None = Field(
        default=None,
        ge=0.0,
        le=4.0,
        description="above 0 favours longer translations: log p / ((5 + length) / 6) ** it",
    )
    return_score: bool = Field(default=True, description="false makes greedy translations faster")
    return_attention: bool = Field(default=False, description="also return where the model looked for each token")


class Attention(Answer):
    """`weights[i][j]`: how much source token j counted while target token i was chosen. Each row sums to 1."""

    source_tokens: list[str] = Field(description="ends with the end token, which the encoder reads too")
    target_tokens: list[str]
    weights: list[list[float]]


class TranslationAnswer(Answer):
    """The best translation found; `score` unless declined, `attention` only if asked for."""

    text: str
    score: float | None = Field(
        default=None,
        exclude_if=lambda score: score is None,
        description="log-probability / ((5 + length) / 6) ** length_penalty; 0 is certain",
    )
    attention: Attention | None = Field(default=None, exclude_if=lambda attention: attention is None)


class Translation:
    """Text to text. What comes of an example is its best hypothesis, or the error that ended its search."""

    parameters_type = TranslationParameters

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TranslationOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for translation")
        self._options = manifest.options
        self._limits = manifest.limits
        self._state_specs = manifest.state
        self._source = bundle.tokenizers["source"]
        self._target = bundle.tokenizers["target"]

    def preprocess(self, value: PredictInput, parameters: TranslationParameters) -> TranslationExample:
        """Encode a text; a list of words is refused, because the model cuts text by its own rules."""
        if not isinstance(value, str):
            raise InvalidInput(f"a translation takes a text, not {kind_of(value)}")
        max_tokens = self._limits.max_input_tokens
        ids, tokens = self._source.encode_with_tokens(require_short_text(value, max_tokens))
        if not ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(ids), max_tokens, "tokens")
        plan = self._plan(len(ids), parameters)
        return TranslationExample([*ids, EOS], [*tokens, SPECIAL_TOKENS[EOS]], plan)

    def new_batch(self) -> TranslationBatch:
        """An empty batch that examples may join and leave at any step."""
        return TranslationBatch(self._state_specs, self._target.vocabulary_size)

    def run(self, runner: Runner, examples: Sequence[TranslationExample]) -> list[Hypothesis | UnrollError]:
        """All examples from start to end, without company. An error stands in its own example's place."""
        batch = self.new_batch()
        batch.join(list(dict.fromkeys(examples)))
        found: dict[TranslationExample, Hypothesis | UnrollError] = {}
        while not batch.is_idle:
            for outcome in batch.advance(runner):
                found[outcome.request] = _output(outcome)
        return [found[example] for example in examples]

    def plain_answer(self, example: TranslationExample, output: Hypothesis | UnrollError) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values. Raises the error that ended the search, if one did."""
        if isinstance(output, UnrollError):
            raise output
        answer: dict[str, Any] = {"text": self._target.decode(output.tokens)}
        if output.score is not None:
            answer["score"] = output.score
        if example.plan.keeps_attention:
            answer["attention"] = self._attention(example, output)
        return answer

    def postprocess(self, example: TranslationExample, output: Hypothesis | UnrollError) -> TranslationAnswer:
        return TranslationAnswer.model_validate(self.plain_answer(example, output))

    def reading(self, example: TranslationExample) -> Reading:
        return reading_of(example.source_ids[:-1])

    def verdict(self, plain_answer: dict[str, Any]) -> Verdict:
        """The score as a probability: that of about six tokens, because scores are divided by a sixth of a length."""
        score = plain_answer.get("score")
        return Verdict((), None if score is None else math.exp(min(0.0, score)))

    def _plan(self, source_length: int, parameters: TranslationParameters) -> SearchPlan:
        limit = self._limits.max_new_tokens
        if parameters.max_new_tokens is not None:
            require_at_most_new_tokens(parameters.max_new_tokens, limit)
        max_steps = parameters.max_new_tokens or min(limit, 2 * source_length + 20)
        chosen_penalty = parameters.length_penalty
        length_penalty = self._options.length_penalty if chosen_penalty is None else chosen_penalty
        num_beams = parameters.num_beams or self._options.num_beams
        wishes = parameters.return_score, parameters.return_attention
        return SearchPlan(num_beams, max_steps, length_penalty, *wishes)

    def _attention(self, example: TranslationExample, hypothesis: Hypothesis) -> dict[str, Any]:
        return {
            "source_tokens": example.source_tokens,
            "target_tokens": [self._target.token(token) for token in hypothesis.tokens],
            "weights": hypothesis.attention.tolist(),
        }


def _output(outcome: TranslationOutcome) -> Hypothesis | UnrollError:
    if outcome.error is not None:
        return outcome.error
    assert isinstance(outcome.product, Hypothesis), "a sentence that did not fail has a hypothesis at its end"
    return outcome.product
