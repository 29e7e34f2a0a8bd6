"""Translation: an encoder reads the source once, an attention decoder writes the target step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.manifest import StateSpec, TranslationOptions
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.bundle.tokenizer import EOS, SPECIAL_TOKENS
from service.errors import InferenceFailed, InvalidInput
from service.tasks.base import (
    Answer,
    Array,
    Parameters,
    Runner,
    require_at_most,
    require_at_most_new_tokens,
    require_short_text,
)
from service.tasks.beam_search import Hypothesis, SearchPlan, beam_search
from service.tasks.recurrent_state import RecurrentState


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
    return_attention: bool = Field(default=False, description="also return where the model looked for each token")


class Attention(Answer):
    """`weights[i][j]`: how much source token j counted while target token i was chosen. Each row sums to 1."""

    source_tokens: list[str] = Field(description="ends with the end token, which the encoder reads too")
    target_tokens: list[str]
    weights: list[list[float]]


class TranslationAnswer(Answer):
    """The best translation found; `attention` only if asked for."""

    text: str
    score: float = Field(description="log-probability / ((5 + length) / 6) ** length_penalty; 0 is certain")
    attention: Attention | None = Field(default=None, exclude_if=lambda attention: attention is None)


@dataclass(frozen=True)
class TranslationExample:
    """One source sentence, encoded with its end token, and how to search."""

    source_ids: list[int]
    source_tokens: list[str]
    plan: SearchPlan
    return_attention: bool

    @property
    def length(self) -> int:
        return len(self.source_ids)


class Translation:
    """Text to text. The output of `run` is the best hypothesis, None if the model's numbers were not finite."""

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

    def preprocess(self, value: str | Sequence[str], parameters: TranslationParameters) -> TranslationExample:
        """Encode a text; a list of words is refused, because the model cuts text by its own rules."""
        if not isinstance(value, str):
            raise InvalidInput("a translation takes a text, not a list of words")
        max_tokens = self._limits.max_input_tokens
        ids, tokens = self._source.encode_with_tokens(require_short_text(value, max_tokens))
        if not ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(ids), max_tokens, "tokens")
        plan = self._plan(len(ids), parameters)
        return TranslationExample([*ids, EOS], [*tokens, SPECIAL_TOKENS[EOS]], plan, parameters.return_attention)

    def run(self, runner: Runner, examples: Sequence[TranslationExample]) -> list[Hypothesis | None]:
        sequences = [example.source_ids for example in examples]
        feeds = {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}
        encoded = runner.run("encoder", feeds)
        decoder = _Decoder(runner, self._state_specs, encoded, feeds["lengths"], self._target.vocabulary_size)
        keep_attention = any(example.return_attention for example in examples)
        return beam_search(decoder, [example.plan for example in examples], keep_attention)

    def postprocess(self, example: TranslationExample, output: Hypothesis | None) -> TranslationAnswer:
        if output is None:
            raise InferenceFailed("the model computed token scores that are not finite numbers")
        attention = self._attention(example, output.tokens, output.attention) if example.return_attention else None
        return TranslationAnswer(text=self._target.decode(output.tokens), score=output.score, attention=attention)

    def _plan(self, source_length: int, parameters: TranslationParameters) -> SearchPlan:
        limit = self._limits.max_new_tokens
        if parameters.max_new_tokens is not None:
            require_at_most_new_tokens(parameters.max_new_tokens, limit)
        max_steps = parameters.max_new_tokens or min(limit, 2 * source_length + 20)
        chosen_penalty = parameters.length_penalty
        length_penalty = self._options.length_penalty if chosen_penalty is None else chosen_penalty
        return SearchPlan(parameters.num_beams or self._options.num_beams, max_steps, length_penalty)

    def _attention(self, example: TranslationExample, tokens: Sequence[int], weights: Array) -> Attention:
        return Attention(
            source_tokens=example.source_tokens,
            target_tokens=[self._target.token(token) for token in tokens],
            weights=[[float(weight) for weight in row[: example.length]] for row in weights],
        )


class _Decoder:
    """The graph `decoder_step` on the rows of a beam search. It holds the state and what the encoder remembers."""

    def __init__(
        self, runner: Runner, specs: Sequence[StateSpec], encoded: Mapping[str, Array], lengths: IntArray, vocab: int
    ) -> None:
        self._runner = runner
        self._specs = specs
        self._encoded = encoded
        self._lengths = lengths
        self._vocab = vocab
        self._state = RecurrentState.from_outputs(specs, encoded)
        self._examples = np.empty(0, dtype=np.int64)
        self._memory: dict[str, Array] = {}

    def step(self, tokens: IntArray, parents: IntArray, examples: IntArray) -> tuple[Array, Array]:
        if not np.array_equal(examples, self._examples):
            self._examples = examples
            self._memory = self._memory_of(examples)
        state = self._state.rows(parents)
        outputs = self._runner.run("decoder_step", {"token": tokens, **self._memory, **state.arrays})
        logits = outputs["logits"]
        if logits.shape[1] != self._vocab:
            raise InferenceFailed(f"decoder_step scores {logits.shape[1]} tokens, the tokenizer has {self._vocab}")
        self._state = RecurrentState.from_outputs(self._specs, outputs)
        return logits, outputs["attention"]

    def _memory_of(self, examples: IntArray) -> dict[str, Array]:
        """What each row attends to; cut to the longest source that is still being translated."""
        lengths = self._lengths[examples]
        longest = lengths.max()
        memory = {name: self._encoded[name][examples, :longest] for name in ("memory", "memory_keys")}
        return {**memory, "lengths": lengths}
