"""Records to batches: encoded once, ordered anew each epoch, near lengths together.

The order of an epoch depends on the seed and the epoch number alone, so that a resumed run meets the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bundle.padding import pad_ids, pad_nested_ids
from service.bundle.tokenizer import BOS, EOS
from service.errors import UnrollError
from training.batches import AnyBatch, ClassificationBatch, LanguageBatch, TaggingBatch, TranslationBatch
from training.config import Recipe
from training.records import LabelledText, Passage, Record, SentencePair, TaggedSentence
from training.vocabulary import Vocabulary

#: Batches are cut from pools of this many batches, sorted by length: enough to leave little padding, few enough that
#: what stands beside what still changes every epoch.
POOL_BATCHES = 50

MIN_STREAM_TOKENS = 2

Order = NDArray[np.int64]


class TrainingSet(Protocol):
    """All records of one split, as the network wants them."""

    def epoch(self, number: int) -> list[Order]:
        """The batches of an epoch, each as the indices that `batch` takes."""
        ...

    def batch(self, indices: Order) -> AnyBatch:
        """The tensors of one batch."""
        ...


class _Bucketed:
    """Shuffles, sorts within pools, cuts into batches, shuffles the batches."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, number: int) -> list[Order]:
        generator = np.random.default_rng((self._seed, number))
        order = generator.permutation(len(self._lengths))
        pool = self._batch_size * POOL_BATCHES
        batches: list[Order] = []
        for start in range(0, len(order), pool):
            near = order[start : start + pool]
            near = near[np.argsort(self._lengths[near], kind="stable")]
            batches += [near[i : i + self._batch_size] for i in range(0, len(near), self._batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]


class TaggingSet(_Bucketed):
    """Sentences with a tag for each word."""

    def __init__(
        self, sentences: Sequence[TaggedSentence], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        super().__init__([len(sentence.words) for sentence in sentences], batch_size, seed)
        words, characters = vocabulary.tokenizers["words"], vocabulary.tokenizers["characters"]
        number = {label: index for index, label in enumerate(vocabulary.labels)}
        self._words = [words.encode_words(s.words) for s in sentences]
        self._characters = [[characters.encode_characters(word, limit) for word in s.words] for s in sentences]
        # A tag that train never showed cannot be learnt; in dev it counts as wrong, here as label 0.
        self._tags = [[number.get(tag, 0) for tag in s.tags] for s in sentences]

    def batch(self, indices: Order) -> TaggingBatch:
        words = [self._words[i] for i in indices]
        return TaggingBatch(
            words=_tensor(pad_ids(words)),
            characters=_tensor(pad_nested_ids([self._characters[i] for i in indices])),
            lengths=_lengths(words),
            tags=_tensor(pad_ids([self._tags[i] for i in indices])),
        )


class ClassificationSet(_Bucketed):
    """Texts with a label; a text without tokens, or with a label that train never showed, is left out."""

    def __init__(
        self, texts: Sequence[LabelledText], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        tokenizer = vocabulary.tokenizers["text"]
        number = {label: index for index, label in enumerate(vocabulary.labels)}
        encoded = [(tokenizer.encode(r.text)[:limit], number[r.label]) for r in texts if r.label in number]
        kept = [(ids, label) for ids, label in encoded if ids]
        super().__init__([len(ids) for ids, _ in kept], batch_size, seed)
        self._examples = kept

    def batch(self, indices: Order) -> ClassificationBatch:
        rows = [self._examples[i] for i in indices]
        tokens = [ids for ids, _ in rows]
        labels = torch.tensor([label for _, label in rows])
        return ClassificationBatch(tokens=_tensor(pad_ids(tokens)), lengths=_lengths(tokens), labels=labels)


class TranslationSet(_Bucketed):
    """Pairs of sentences; both sides are cut at the limit."""

    def __init__(
        self, pairs: Sequence[SentencePair], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        source, target = vocabulary.tokenizers["source"], vocabulary.tokenizers["target"]
        self._sources = [[*source.encode(pair.source)[: limit - 1], EOS] for pair in pairs]
        self._targets = [target.encode(pair.target)[: limit - 1] for pair in pairs]
        # Source first, target second: both sides of a batch end up near in length.
        lengths = [len(s) * 1000 + len(t) for s, t in zip(self._sources, self._targets, strict=True)]
        super().__init__(lengths, batch_size, seed)

    def batch(self, indices: Order) -> TranslationBatch:
        sources = [self._sources[i] for i in indices]
        targets = [self._targets[i] for i in indices]
        return TranslationBatch(
            source=_tensor(pad_ids(sources)),
            source_lengths=_lengths(sources),
            target_inputs=_tensor(pad_ids([[BOS, *ids] for ids in targets])),
            target_outputs=_tensor(pad_ids([[*ids, EOS] for ids in targets])),
        )


class PassageStream:
    """Running text cut into parallel streams; batch k+1 goes on exactly where batch k ended.

    Each epoch starts at another offset, so that windows do not always end at the same places.
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
        offset = int(np.random.default_rng((self._seed, number)).integers(self._window))
        stream = (len(self._ids) - 1 - offset) // self._batch_size
        if stream < self._window:
            offset, stream = 0, (len(self._ids) - 1) // self._batch_size
        starts = offset + np.arange(self._batch_size) * stream
        return [starts + step for step in range(0, stream - self._window + 1, self._window)]

    def batch(self, indices: Order) -> LanguageBatch:
        windows = np.stack([self._ids[start : start + self._window + 1] for start in indices])
        return LanguageBatch(inputs=_tensor(windows[:, :-1]), targets=_tensor(windows[:, 1:]))


def training_set(recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Record]) -> TrainingSet:
    """The set for the recipe's task."""
    size, seed, limit = recipe.training.batch_size, recipe.seed, recipe.limits.max_input_tokens
    network = recipe.network
    if network.task == "tagging":
        sentences = [r for r in records if isinstance(r, TaggedSentence)]
        return TaggingSet(sentences, vocabulary, network.max_word_characters, size, seed)
    if network.task == "classification":
        return ClassificationSet([r for r in records if isinstance(r, LabelledText)], vocabulary, limit, size, seed)
    if network.task == "translation":
        return TranslationSet([r for r in records if isinstance(r, SentencePair)], vocabulary, limit, size, seed)
    passages = [r for r in records if isinstance(r, Passage)]
    return PassageStream(passages, vocabulary, network.window, size, seed)


def _tensor(array: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _lengths(sequences: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([len(sequence) for sequence in sequences])
