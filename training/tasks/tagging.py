"""Tagging: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids, pad_nested_ids
from service.bundle.task_options import TaggingOptions
from service.tasks.core.task import Runner
from training.config.networks import TaggerConfig
from training.config.recipe import ConfigFault, Recipe, TokenizerConfig
from training.data.readers.schemes import span_scheme
from training.data.records import TaggedSentence
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.tagging import TaggingEvaluation
from training.networks.build import WordEmbedding
from training.networks.network import Network
from training.networks.tagger import Tagger
from training.preprocessing.batches import NO_LABEL, TaggingBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_words, vector_rows
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, sample_lines


class TaggingTask(TaggingEvaluation, TrainingTask[TaggedSentence]):
    """Words and their characters in, tags out; with `network.joint` also a label for the text."""

    word_embedding = WordEmbedding("words", "word_embedding", "network.word_size")
    fine_tunes = True

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[TaggedSentence], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return tagging_vocabulary(recipe.tokenizer, records, vectors)

    def character_models(self, recipe: Recipe) -> tuple[str, ...]:
        return recipe.network_as(TaggerConfig).contextual

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[TaggedSentence], *, is_dev: bool = False
    ) -> TaggingSet:
        limit = recipe.network_as(TaggerConfig).max_word_characters
        parts = cut_sentences(records, recipe.limits.max_input_tokens)
        return TaggingSet(parts, vocabulary, limit, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        config = recipe.network_as(TaggerConfig)
        if config.joint and not vocabulary.text_labels:
            raise ConfigFault(
                "network.joint needs texts that have a label beside their tags, and no text in train has one"
            )
        sizes = vocabulary.size("words"), vocabulary.size("characters"), len(vocabulary.labels)
        return Tagger(config, *sizes, len(vocabulary.text_labels), vocabulary.character_models)

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> TaggingOptions:
        config = recipe.network_as(TaggerConfig)
        return TaggingOptions(
            decoder=config.decoder,
            scheme=span_scheme([vocabulary.labels]),
            max_word_characters=config.max_word_characters,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[TaggedSentence]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: list(record.words), _line)

    def questions(self, recipe: Recipe, records: Sequence[TaggedSentence]) -> list[Question]:
        limit = recipe.limits.max_input_tokens
        return example_questions(recipe, records, lambda record: list(record.words[:limit]))

    def defaults(self, records: Sequence[TaggedSentence]) -> dict[str, Any]:
        """A CRF for spans, and a joint network where texts have labels."""
        has_spans = span_scheme(record.tags for record in records) is not None
        network = {
            "hidden_size": 200,
            "layers": 1,
            "decoder": "crf" if has_spans else "softmax",
            "joint": any(record.label for record in records),
        }
        training = {"epochs": 20, "patience": 4, "batch_size": 16, "ema_decay": 0.99}
        return {"network": network, "training": training}


class TaggingSet(Bucketed):
    """Sentences with a tag for each word."""

    def __init__(
        self, sentences: Sequence[TaggedSentence], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        super().__init__([len(sentence.words) for sentence in sentences], batch_size, seed)
        words, characters = vocabulary.tokenizers["words"], vocabulary.tokenizers["characters"]
        number = {label: index for index, label in enumerate(vocabulary.labels)}
        self._words = [words.encode_words(s.words) for s in sentences]
        self._characters = [[characters.encode_characters(word, limit) for word in s.words] for s in sentences]
        # A tag that is not in train counts as label 0 in the dev loss, and as wrong in the dev score.
        self._tags = [[number.get(tag, 0) for tag in s.tags] for s in sentences]
        text_number = {label: index for index, label in enumerate(vocabulary.text_labels)}
        self._text_labels = np.array([text_number.get(s.label, NO_LABEL) for s in sentences], dtype=np.int64)

    def batch(self, indices: Order) -> TaggingBatch:
        words = [self._words[i] for i in indices]
        return TaggingBatch(
            words=ids_tensor(pad_ids(words)),
            characters=ids_tensor(pad_nested_ids([self._characters[i] for i in indices])),
            lengths=lengths_tensor(words),
            tags=ids_tensor(pad_ids([self._tags[i] for i in indices])),
            text_labels=ids_tensor(self._text_labels[indices]),
        )


def cut_sentences(sentences: Sequence[TaggedSentence], most: int) -> list[TaggedSentence]:
    """Sentences of at most `most` words: longer ones in parts, as they are scored and served.

    One sentence of 30,000 words would pad the others of its batch to as many, which costs gigabytes.
    """
    return [
        sentence._replace(words=sentence.words[start : start + most], tags=sentence.tags[start : start + most])
        for sentence in sentences
        for start in range(0, len(sentence.words), most)
    ]


def tagging_vocabulary(
    config: TokenizerConfig, sentences: Sequence[TaggedSentence], vectors: WordVectors | None = None
) -> Vocabulary:
    """Words, their characters, tags, and the labels of texts where there are any."""
    words = fit_words((sentence.words for sentence in sentences), config, vectors)
    characters = fit_characters(word for sentence in sentences for word in sentence.words)
    labels = tuple(sorted({tag for sentence in sentences for tag in sentence.tags}))
    text_labels = tuple(sorted({sentence.label for sentence in sentences if sentence.label}))
    tokenizers = {"words": words, "characters": characters}
    return Vocabulary(tokenizers, labels, vector_rows(words, vectors), text_labels)


def _line(record: TaggedSentence, found: Mapping[str, Any]) -> str:
    triples = zip(record.words, record.tags, found["tokens"], strict=True)
    tagged = " ".join(f"{word}/{beside(token['tag'], tag)}" for word, tag, token in triples)
    return f"{tagged} -> {beside(found['label'], record.label)}" if "label" in found else tagged
