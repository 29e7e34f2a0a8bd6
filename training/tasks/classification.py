"""Text classification: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids, pad_nested_ids
from service.bundle.task_options import ClassificationOptions
from service.bundle.tokenizer import TextTokenizer
from service.tasks.core.task import Runner
from training.config.networks import ClassifierConfig, LanguageModelConfig, NetworkTable
from training.config.recipe import Recipe, TokenizerConfig
from training.data.records import LabelledText
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.classification import ClassificationEvaluation
from training.networks.build import WordEmbedding
from training.networks.classifier import Classifier
from training.networks.network import Network
from training.preprocessing.batches import ClassificationBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.vocabulary import (
    Vocabulary,
    fit_characters,
    fit_subwords,
    fit_words,
    vector_rows,
    word_tokenizer,
)
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, example_text, sample_lines

#: One word of padding.
_NO_CHARACTERS = [[0]]


class ClassificationTask(ClassificationEvaluation, TrainingTask[LabelledText]):
    """A text in, one label out."""

    word_embedding = WordEmbedding("text", "embedding", "network.embedding_size")
    fine_tunes = True

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[LabelledText], vectors: WordVectors | None = None
    ) -> Vocabulary:
        spelled = recipe.network_as(ClassifierConfig).characters != "none"
        return classification_vocabulary(recipe.tokenizer, records, vectors, spelled=spelled)

    def body_settings(self, language_model: NetworkTable) -> dict[str, Any]:
        """Forward layers of the same sizes, and the pooling of Howard and Ruder (2018)."""
        assert isinstance(language_model, LanguageModelConfig)
        shared = ("cell", "embedding_size", "hidden_size", "layers", "connection", "layer_norm")
        sizes = {key: getattr(language_model, key) for key in shared}
        return {**sizes, "bidirectional": False, "characters": "none", "pooling": "last+max+mean"}

    def body_weight(self, name: str) -> str:
        if name.startswith("stack.layers."):
            number, rest = name.removeprefix("stack.layers.").split(".", 1)
            return f"encoder.layers.{number}.forward_rnn.{rest}"
        of_body = name.startswith(("stack.ends.", "embedding."))
        return name.replace("stack.", "encoder.") if of_body else ""

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[LabelledText], *, is_dev: bool = False
    ) -> ClassificationSet:
        config, size = recipe.network_as(ClassifierConfig), recipe.training.batch_size
        spelled = config.max_word_characters if config.characters != "none" else 0
        return ClassificationSet(records, vocabulary, recipe.limits.max_input_tokens, size, recipe.seed, spelled)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        config = recipe.network_as(ClassifierConfig)
        characters = vocabulary.size("characters") if config.characters != "none" else 0
        return Classifier(config, vocabulary.size("text"), len(vocabulary.labels), characters)

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> ClassificationOptions:
        config = recipe.network_as(ClassifierConfig)
        return ClassificationOptions(max_word_characters=config.max_word_characters, outside_label=config.outside_label)

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[LabelledText]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.text, _line)

    def questions(self, recipe: Recipe, records: Sequence[LabelledText]) -> list[Question]:
        return example_questions(recipe, records, lambda record: example_text(record.text, recipe))

    def defaults(self, records: Sequence[LabelledText]) -> dict[str, Any]:
        return {
            "network": {"hidden_size": 128, "pooling": "attention"},
            "training": {"epochs": 20, "patience": 4, "batch_size": 32, "ema_decay": 0.99},
        }


class ClassificationSet(Bucketed):
    """Texts with a label, without those that have no tokens or a label not in train.

    `word_characters` is the number of characters read of each word, 0 to read none.
    """

    def __init__(
        self,
        texts: Sequence[LabelledText],
        vocabulary: Vocabulary,
        limit: int,
        batch_size: int,
        seed: int,
        word_characters: int = 0,
    ) -> None:
        self._tokenizers, self._limit, self._word_characters = vocabulary.tokenizers, limit, word_characters
        number = {label: index for index, label in enumerate(vocabulary.labels)}
        encoded = [(*self._encode(r.text), number[r.label]) for r in texts if r.label in number]
        self._examples = [example for example in encoded if example[0]]
        super().__init__([len(ids) for ids, _, _ in self._examples], batch_size, seed)

    def batch(self, indices: Order) -> ClassificationBatch:
        tokens, characters, labels = zip(*(self._examples[i] for i in indices), strict=True)
        return ClassificationBatch(
            tokens=ids_tensor(pad_ids(tokens)),
            lengths=lengths_tensor(tokens),
            labels=torch.tensor(labels),
            characters=ids_tensor(pad_nested_ids(characters)),
        )

    def _encode(self, text: str) -> tuple[list[int], list[list[int]]]:
        """Token ids, and the character ids of each token where characters are read."""
        tokenizer = self._tokenizers["text"]
        if not self._word_characters:
            return tokenizer.encode(text)[: self._limit], _NO_CHARACTERS
        words = [piece.text for piece in tokenizer.pieces(text)][: self._limit]
        characters = self._tokenizers["characters"]
        return tokenizer.encode_words(words), [characters.encode_characters(w, self._word_characters) for w in words]


def classification_vocabulary(
    config: TokenizerConfig,
    texts: Sequence[LabelledText],
    vectors: WordVectors | None = None,
    *,
    spelled: bool = False,
) -> Vocabulary:
    """Labels, the tokenizer of the configured unit and, for `spelled` words, their characters."""
    labels = tuple(sorted({record.label for record in texts}))
    if config.unit == "subword":
        return Vocabulary({"text": fit_subwords((record.text for record in texts), config)}, labels)
    if config.unit == "character":
        return Vocabulary({"text": fit_characters(record.text for record in texts)}, labels)
    empty = TextTokenizer(word_tokenizer([], config))
    cut = [[piece.text for piece in empty.pieces(record.text)] for record in texts]
    tokenizer = fit_words(cut, config, vectors)
    tokenizers = {"text": tokenizer}
    if spelled:
        tokenizers["characters"] = fit_characters(word for words in cut for word in words)
    return Vocabulary(tokenizers, labels, vector_rows(tokenizer, vectors))


def _line(record: LabelledText, found: Mapping[str, Any]) -> str:
    return f"{record.text} -> {beside(found['label'], record.label)}"
