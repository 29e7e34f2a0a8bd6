"""Text generation: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from service.bundle.load import Bundle
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import TextTokenizer
from service.errors import UnrollError
from service.tasks.catalogue import answer, task_of
from service.tasks.core.task import Runner
from training.config.networks import LanguageModelConfig
from training.config.recipe import Recipe, TokenizerConfig
from training.data.records import Passage
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.generation import GenerationEvaluation
from training.networks.build import WordEmbedding
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.preprocessing.batches import LanguageBatch
from training.preprocessing.batching import Order, ids_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_running_words, fit_subwords
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import example_questions, example_text

MIN_STREAM_TOKENS = 2
#: Windows of random length: the share near the usual length, their spread, and the shortest.
USUAL_SHARE, WINDOW_SPREAD, MIN_RANDOM_WINDOW = 0.95, 5.0, 5
#: The sample text after an epoch.
NUM_SAMPLE_TOKENS: Final = 120
SAMPLING: Final[dict[str, Any]] = {"do_sample": True, "temperature": 0.8, "seed": 1}
#: Recorded examples are short and greedy: they are for verification.
NUM_PROOF_TOKENS: Final = 40


class GenerationTask(GenerationEvaluation, TrainingTask[Passage]):
    """A language model over running text."""

    word_embedding = WordEmbedding("text", "embedding", "network.embedding_size")
    fine_tunes = True

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[Passage], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return generation_vocabulary(recipe.tokenizer, records)

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Passage], *, is_dev: bool = False
    ) -> PassageStream:
        """Dev is always read in windows of one length."""
        config = recipe.network_as(LanguageModelConfig)
        stream = RandomWindowStream if config.random_window and not is_dev else PassageStream
        return stream(records, vocabulary, config.window, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        return LanguageModel(recipe.network_as(LanguageModelConfig), vocabulary.size("text"))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> GenerationOptions:
        return GenerationOptions(unit=recipe.tokenizer.unit)

    def samples(self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[Passage]) -> tuple[str, ...]:
        """One text: an example of the recipe, or the first line of dev, and how the model continues it."""
        prompt = next(iter(recipe.examples), records[0].text.strip().splitlines()[0])
        limits = recipe.limits
        lengths = {
            "max_new_tokens": min(NUM_SAMPLE_TOKENS, limits.max_new_tokens),
            "truncate": limits.max_input_tokens,
        }
        found = answer(task_of(bundle), runner, prompt, {**SAMPLING, **lengths}).model_dump()
        return (repr(prompt + str(found["generated_text"])),)

    def questions(self, recipe: Recipe, records: Sequence[Passage]) -> list[Question]:
        parameters = {"max_new_tokens": min(NUM_PROOF_TOKENS, recipe.limits.max_new_tokens), "details": True}
        return example_questions(recipe, records, lambda record: example_text(record.text, recipe), parameters)

    def defaults(self, records: Sequence[Passage]) -> dict[str, Any]:
        return {
            "tokenizer": {"unit": "character"},
            "network": {"hidden_size": 384, "layers": 1, "embedding_size": 64},
            "training": {"epochs": 20, "patience": 3, "batch_size": 32},
            "limits": {"max_input_tokens": 2048, "max_new_tokens": 2048},
        }

    def num_batches(self, records: Sequence[Passage], batch_size: int) -> int:
        """A batch holds one window of each stream."""
        window: int = LanguageModelConfig.model_fields["window"].default
        return -(-sum(len(record.text) for record in records) // (batch_size * window))


class PassageStream:
    """Running text cut into parallel streams; batch k+1 continues exactly where batch k ended.

    Each epoch starts at another offset, so that window boundaries vary.
    """

    def __init__(
        self, passages: Sequence[Passage], vocabulary: Vocabulary, window: int, batch_size: int, seed: int
    ) -> None:
        tokenizer = vocabulary.tokenizers["text"]
        self._ids = np.asarray([i for passage in passages for i in tokenizer.encode(passage.text)], dtype=np.int64)
        if len(self._ids) < MIN_STREAM_TOKENS:
            raise UnrollError(
                f"a text of {len(self._ids)} tokens is too short for a language model: train and dev need at least "
                f"{MIN_STREAM_TOKENS} tokens each, one to read and one to predict"
            )
        self._batch_size = min(batch_size, max(1, len(self._ids) // (2 * window)))
        self._window = min(window, len(self._ids) - 1)
        self._seed = seed

    def epoch(self, number: int) -> list[Order]:
        """Batches as the start positions of their rows."""
        offset = int(np.random.default_rng((self._seed, number)).integers(self._window))
        stream = (len(self._ids) - 1 - offset) // self._batch_size
        if stream < self._window:
            offset, stream = 0, (len(self._ids) - 1) // self._batch_size
        starts = offset + np.arange(self._batch_size) * stream
        return [starts + step for step in range(0, stream - self._window + 1, self._window)]

    def batch(self, indices: Order) -> LanguageBatch:
        return self._windows(indices, self._window)

    def _windows(self, starts: Order, length: int) -> LanguageBatch:
        windows = np.stack([self._ids[start : start + length + 1] for start in starts])
        return LanguageBatch(inputs=ids_tensor(windows[:, :-1]), targets=ids_tensor(windows[:, 1:]))


class RandomWindowStream(PassageStream):
    """The same streams in windows of random lengths, so that window boundaries vary.

    Most windows are near the usual length, one in twenty near half of it (Merity et al. 2018; the rate is not scaled).
    """

    def epoch(self, number: int) -> list[Order]:
        """Batches as `[rows, 2]`: start position and length of each row."""
        generator = np.random.default_rng((self._seed, number))
        stream = (len(self._ids) - 1) // self._batch_size
        starts = np.arange(self._batch_size) * stream
        batches: list[Order] = []
        done = 0
        while done < stream:
            usual = self._window if generator.random() < USUAL_SHARE else self._window / 2
            drawn = max(MIN_RANDOM_WINDOW, round(generator.normal(usual, WINDOW_SPREAD)))
            length = min(drawn, stream - done)
            batches.append(np.stack([starts + done, np.full_like(starts, length)], axis=1))
            done += length
        return batches

    def batch(self, indices: Order) -> LanguageBatch:
        return self._windows(indices[:, 0], int(indices[0, 1]))


def generation_vocabulary(config: TokenizerConfig, passages: Sequence[Passage]) -> Vocabulary:
    """The tokenizer that the language model reads and writes with."""
    return Vocabulary({"text": _tokenizer(config, [passage.text for passage in passages])})


def _tokenizer(config: TokenizerConfig, texts: Sequence[str]) -> TextTokenizer:
    match config.unit:
        case "character":
            return fit_characters(texts, config.min_count)
        case "subword":
            return fit_subwords(texts, config)
        case "word":
            return fit_running_words(texts, config)
