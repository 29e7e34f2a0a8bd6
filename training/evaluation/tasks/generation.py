"""Text generation: a language model, scored by the loss of each next token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest
from service.bundle.task_options import GenerationOptions, TaskOptions
from service.bundle.tokenizer import TextTokenizer
from service.errors import UnrollError
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Runner
from training.config.recipe import Recipe
from training.data.records import Passage
from training.data.split import Parts, split_passages
from training.evaluation.answers import Job, Scores
from training.evaluation.baselines.generation import ngram_models
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.scoring import (
    LEAST_CHARACTERS,
    negative_log_likelihoods,
    perplexity,
    perplexity_per_word,
)
from training.evaluation.step_loss import step_loss
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import input_limit, output_limit
from training.preprocessing.load_records import RunData, running_text

_WINDOW_TOKENS = 256


def _purpose(manifest: Manifest) -> str:
    return f"Continues a text, one {options_as(manifest.options, GenerationOptions).unit} at a time."


class GenerationEvaluation(EvaluationTask[Passage]):
    """Scores the loss in nats per token, and the perplexity per word where tokens are words or parts of them."""

    name = "generation"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Play, teaching and tests. The text imitates the style of its data. It is not true or sensible by design, "
            "and may repeat what the data holds."
        ),
        limits=lambda manifest: [*input_limit(manifest), output_limit(manifest)],
    )
    reported = ("loss", "perplexity", "perplexity_per_word")
    deciding = ("loss",)
    int8_graphs = ("step",)
    has_errors = False

    def split(self, records: Sequence[Passage], dev_fraction: float) -> Parts:
        """The end of the text is dev."""
        return split_passages(records, dev_fraction)

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """With the text of further data sets, and reversed, where the recipe says so."""
        return running_text(data, recipe.data)

    def score(self, job: Job, records: Sequence[Passage]) -> Scores:
        """Each token of a passage but the first is predicted from all tokens before it."""
        tokenizer = job.bundle.tokenizers["text"]
        nats, num_tokens = 0.0, 0
        for record in records:
            for losses in _window_losses(job, tokenizer.encode(record.text)):
                nats += float(losses.sum())
                num_tokens += losses.size
        if num_tokens == 0:
            raise UnrollError("the text is too short: a loss needs at least two tokens")
        loss = nats / num_tokens
        num_characters = sum(len(record.text) for record in records)
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            **_per_word(nats, num_tokens, [record.text for record in records]),
            "loss_per_character": nats / num_characters,
            "tokens": num_tokens,
            "characters": num_characters,
        }

    def baselines(
        self,
        train: Sequence[Passage],
        dev: Sequence[Passage],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """Models of n-grams of the network's tokens; of characters without `encode`."""
        return ngram_models(train, dev, encode)

    def loss_measures(
        self, loss: float, records: Sequence[Passage], tokenizers: Mapping[str, TextTokenizer]
    ) -> dict[str, float]:
        """The perplexity per word."""
        texts = [record.text for record in records]
        num_tokens = sum(len(tokenizers["text"].encode(text)) for text in texts)
        return _per_word(loss * (num_tokens - 1), num_tokens, texts)

    def variant_loss(self, bundle: Bundle, runner: Runner, records: Sequence[Passage]) -> float:
        """Measured through the graph that generates, which alone is rewritten."""
        return step_loss(bundle, runner, [record.text for record in records])


def _per_word(nats: float, num_tokens: int, texts: Sequence[str]) -> dict[str, float]:
    """The perplexity per word; empty where tokens are characters."""
    of_characters = num_tokens >= LEAST_CHARACTERS * sum(map(len, texts))
    return {} if of_characters else perplexity_per_word(nats, texts)


def _window_losses(job: Job, ids: Sequence[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Nats of the tokens of one text, window by window; the state is carried from each window to the next."""
    specs = job.bundle.manifest.state
    size = min(_WINDOW_TOKENS, job.bundle.manifest.limits.max_input_tokens)
    tokens = np.asarray(ids, dtype=np.int64)[None, :]
    state = RecurrentState.zeros(specs, 1)
    for start in range(0, tokens.shape[1] - 1, size):
        targets = tokens[:, start + 1 : start + 1 + size]
        window = tokens[:, start : start + targets.shape[1]]
        lengths = np.asarray([window.shape[1]], dtype=np.int64)
        outputs = job.runner.run("prompt", {"tokens": window, "lengths": lengths, **state.arrays})
        state = RecurrentState.from_outputs(specs, outputs)
        yield negative_log_likelihoods(outputs["logits"], targets)
        job.advance(100 * (start + window.shape[1]) // tokens.shape[1])
