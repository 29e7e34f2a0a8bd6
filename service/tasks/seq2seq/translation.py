"""Translation: an encoder reads the source once, a decoder with attention generates the target step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.bundle.task_options import TranslationOptions
from service.bundle.tokenizer import EOS, SPECIAL_TOKENS
from service.errors import InvalidInput, UnrollError
from service.tasks.core.task import (
    Answer,
    Array,
    InputStatistics,
    PredictInput,
    input_statistics_of,
    kind_of,
    require_at_most,
    require_short_text,
)
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions
from service.tasks.seq2seq.seq2seq import Seq2Seq, Seq2SeqAnswer, Seq2SeqParameters


class TranslationParameters(Seq2SeqParameters):
    """Parameters of beam search. Defaults are in the model's manifest; `max_new_tokens` is twice the source plus 20."""


class Attention(Answer):
    """`weights[i][j]`: attention to source token j when target token i was chosen. Each row sums to 1."""

    source_tokens: list[str] = Field(description="including the end token, which the encoder reads too")
    target_tokens: list[str]
    weights: list[list[float]]


class TranslationAnswer(Seq2SeqAnswer):
    """The best translation found; `score` unless `return_score` is false, `attention` only on request."""

    attention: Attention | None = Field(default=None, exclude_if=lambda attention: attention is None)


@dataclass(frozen=True, eq=False)
class TranslationExample:
    """One source sentence, encoded with its end token, and how to search."""

    source_ids: list[int]
    source_tokens: list[str]
    plan: SearchOptions

    @property
    def length(self) -> int:
        return len(self.source_ids)

    @property
    def num_rows(self) -> int:
        return self.plan.num_beams


class Translation(Seq2Seq[TranslationExample]):
    """Translates a text."""

    parameters_type = TranslationParameters
    answer_type = TranslationAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TranslationOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for translation")
        super().__init__(bundle, manifest.options)
        self._source = bundle.tokenizers["source"]

    def preprocess(self, value: PredictInput, parameters: TranslationParameters) -> TranslationExample:
        """Tokenise a text. A list of words is refused, because the tokenizer splits text by its own rules."""
        if not isinstance(value, str):
            raise InvalidInput(f"a translation takes a text, not {kind_of(value)}")
        max_tokens = self._limits.max_input_tokens
        ids, tokens = self._source.encode_with_tokens(require_short_text(value, max_tokens))
        if not ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(ids), max_tokens, "tokens")
        plan = self.plan(parameters, 2 * len(ids) + 20)
        return TranslationExample([*ids, EOS], [*tokens, SPECIAL_TOKENS[EOS]], plan)

    def encoder_feeds(self, examples: Sequence[TranslationExample]) -> tuple[dict[str, Array], IntArray]:
        return source_feeds(examples)

    def postprocess(self, example: TranslationExample, output: Hypothesis | UnrollError) -> TranslationAnswer:
        return TranslationAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: TranslationExample) -> InputStatistics:
        return input_statistics_of(example.source_ids[:-1])

    def attention(self, example: TranslationExample, hypothesis: Hypothesis) -> dict[str, Any]:
        return {
            "source_tokens": example.source_tokens,
            "target_tokens": self.target_tokens(hypothesis),
            "weights": hypothesis.attention.tolist(),
        }


def source_feeds(examples: Sequence[TranslationExample]) -> tuple[dict[str, Array], IntArray]:
    """The sources as one padded batch, and their lengths."""
    sequences = [example.source_ids for example in examples]
    lengths = lengths_of(sequences)
    return {"tokens": pad_ids(sequences), "lengths": lengths}, lengths
