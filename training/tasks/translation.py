"""Translation: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids
from service.bundle.task_options import TranslationOptions
from service.bundle.tokenizer import BOS, EOS
from service.tasks.core.task import Runner
from training.config.networks import TranslatorConfig
from training.config.recipe import Recipe, TokenizerConfig
from training.data.records import SentencePair
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.translation import TranslationEvaluation
from training.networks.network import Network
from training.networks.translator import Translator
from training.preprocessing.batches import TranslationBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_subwords
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import example_questions, example_text, sample_lines


class TranslationTask(TranslationEvaluation, TrainingTask[SentencePair]):
    """An encoder and a decoder with attention, over subwords that both languages share."""

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[SentencePair], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return translation_vocabulary(recipe.tokenizer, records)

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[SentencePair], *, is_dev: bool = False
    ) -> TranslationSet:
        limit = recipe.limits.max_input_tokens
        return TranslationSet(records, vocabulary, limit, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        # The limit counts tokens without the end token.
        max_source_tokens = recipe.limits.max_input_tokens + 1
        sizes = vocabulary.size("source"), vocabulary.size("target")
        return Translator(recipe.network_as(TranslatorConfig), *sizes, max_source_tokens)

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> TranslationOptions:
        config = recipe.network_as(TranslatorConfig)
        return TranslationOptions(
            source_language=config.source_language,
            target_language=config.target_language,
            num_beams=config.num_beams,
            length_penalty=config.length_penalty,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[SentencePair]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.source, _line)

    def questions(self, recipe: Recipe, records: Sequence[SentencePair]) -> list[Question]:
        return example_questions(recipe, records, lambda record: example_text(record.source, recipe))

    def defaults(self, records: Sequence[SentencePair]) -> dict[str, Any]:
        return {
            "tokenizer": {"unit": "subword", "vocabulary_size": 4000},
            "network": {"encoder_hidden_size": 192, "decoder_hidden_size": 256, "attention": "dot"},
            "training": {"epochs": 15, "patience": 3, "batch_size": 64, "warmup_steps": 200, "evaluate_records": 300},
            "limits": {"max_input_tokens": 256},
        }


class TranslationSet(Bucketed):
    """Sentence pairs; both sides are cut at the limit."""

    def __init__(
        self, pairs: Sequence[SentencePair], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        source, target = vocabulary.tokenizers["source"], vocabulary.tokenizers["target"]
        self._sources = [[*source.encode(pair.source)[: limit - 1], EOS] for pair in pairs]
        self._targets = [target.encode(pair.target)[: limit - 1] for pair in pairs]
        # Sorted by source, then target: both sides of a batch have similar lengths.
        lengths = [len(s) * 1000 + len(t) for s, t in zip(self._sources, self._targets, strict=True)]
        super().__init__(lengths, batch_size, seed)

    def batch(self, indices: Order) -> TranslationBatch:
        sources = [self._sources[i] for i in indices]
        targets = [self._targets[i] for i in indices]
        return TranslationBatch(
            source=ids_tensor(pad_ids(sources)),
            source_lengths=lengths_tensor(sources),
            target_inputs=ids_tensor(pad_ids([[BOS, *ids] for ids in targets])),
            target_outputs=ids_tensor(pad_ids([[*ids, EOS] for ids in targets])),
        )


def translation_vocabulary(config: TokenizerConfig, pairs: Sequence[SentencePair]) -> Vocabulary:
    """One tokenizer of subwords for both languages."""
    joint = fit_subwords((text for pair in pairs for text in pair), config)
    return Vocabulary({"source": joint, "target": joint})


def _line(record: SentencePair, found: Mapping[str, Any]) -> str:
    return f"{record.source} -> {found['text']} (reference: {record.target})"
