"""Records to batches: encoded once, ordered anew each epoch, near lengths together.

The order of an epoch depends on the seed and the epoch number alone, so that a resumed run meets the same batches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bundle.padding import pad_floats, pad_ids, pad_nested_ids
from service.bundle.tokenizer import BOS, EOS
from service.errors import UnrollError
from service.tasks.inputs.png import PictureSize, read_png
from training.config.networks import CaptionerConfig, ForecasterConfig
from training.config.pictures import PictureConfig
from training.config.recipe import Recipe
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    Record,
    SentencePair,
    Series,
    TaggedSentence,
)
from training.preprocessing.batches import (
    NO_LABEL,
    AnyBatch,
    CaptioningBatch,
    ClassificationBatch,
    ForecastingBatch,
    LanguageBatch,
    SignalBatch,
    TaggingBatch,
    TranslationBatch,
)
from training.preprocessing.vocabulary import Vocabulary
from training.preprocessing.windows import Windows, one_series

#: Batches are cut from pools of this many batches, sorted by length: enough to leave little padding, few enough that
#: what stands beside what still changes every epoch.
POOL_BATCHES = 50

MIN_STREAM_TOKENS = 2
#: Of windows of random length: how many are near the usual one, how far they spread, and how short they may be.
USUAL_SHARE, WINDOW_SPREAD, MIN_RANDOM_WINDOW = 0.95, 5.0, 5
#: One word of padding.
_NO_CHARACTERS = [[0]]

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
        text_number = {label: index for index, label in enumerate(vocabulary.text_labels)}
        self._text_labels = np.array([text_number.get(s.label, NO_LABEL) for s in sentences], dtype=np.int64)

    def batch(self, indices: Order) -> TaggingBatch:
        words = [self._words[i] for i in indices]
        return TaggingBatch(
            words=_tensor(pad_ids(words)),
            characters=_tensor(pad_nested_ids([self._characters[i] for i in indices])),
            lengths=_lengths(words),
            tags=_tensor(pad_ids([self._tags[i] for i in indices])),
            text_labels=_tensor(self._text_labels[indices]),
        )


class ClassificationSet(_Bucketed):
    """Texts with a label; a text without tokens, or with a label that train never showed, is left out.

    With `word_characters`, the most that are read of a word, a text is words and how they are spelt.
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
            tokens=_tensor(pad_ids(tokens)),
            lengths=_lengths(tokens),
            labels=torch.tensor(labels),
            characters=_tensor(pad_nested_ids(characters)),
        )

    def _encode(self, text: str) -> tuple[list[int], list[list[int]]]:
        """Token ids, and those of the characters of each; of no token if no characters are read."""
        tokenizer = self._tokenizers["text"]
        if not self._word_characters:
            return tokenizer.encode(text)[: self._limit], _NO_CHARACTERS
        words = [piece.text for piece in tokenizer.pieces(text)][: self._limit]
        characters = self._tokenizers["characters"]
        return tokenizer.encode_words(words), [characters.encode_characters(w, self._word_characters) for w in words]


class SignalSet(_Bucketed):
    """Signals with a label; those with a label that train never showed are left out, long ones are cut."""

    def __init__(
        self, signals: Sequence[LabelledSignal], labels: Sequence[str], limit: int, batch_size: int, seed: int
    ) -> None:
        number = {label: index for index, label in enumerate(labels)}
        self._examples = [(s.values[:limit], number[s.label]) for s in signals if s.label in number]
        super().__init__([len(values) for values, _ in self._examples], batch_size, seed)

    def batch(self, indices: Order) -> SignalBatch:
        values, labels = zip(*(self._examples[i] for i in indices), strict=True)
        padded = torch.from_numpy(pad_floats(values))
        return SignalBatch(values=padded, lengths=_lengths(values), labels=torch.tensor(labels))


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
        """Each batch as the places where its rows start."""
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
        return LanguageBatch(inputs=_tensor(windows[:, :-1]), targets=_tensor(windows[:, 1:]))


class RandomWindowStream(PassageStream):
    """The same streams in windows of random lengths, so that a token meets the end of a window at every place.

    Most windows are near the usual length, one in twenty near half of it (Merity et al. 2018; the rate stays here).
    """

    def epoch(self, number: int) -> list[Order]:
        """Each batch as `[rows, 2]`: where its rows start, and how long they are."""
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


class ForecastingSet(_Bucketed):
    """Every window of a series."""

    def __init__(self, series: Series, config: ForecasterConfig, batch_size: int, seed: int) -> None:
        self._windows = Windows(series, config.look_back, config.horizon)
        super().__init__([config.look_back] * len(self._windows), batch_size, seed)

    def batch(self, indices: Order) -> ForecastingBatch:
        past, future = self._windows.past(indices), self._windows.future(indices)
        return ForecastingBatch(frames=torch.from_numpy(past), future=torch.from_numpy(future))


#: Captions of so many tokens and fewer are batched as they come, for batch normalisation wants batches of all kinds;
#: longer ones, which are few, stand together, so that not every batch takes as many steps as they do.
SHORT_CAPTION_TOKENS = 6


class CaptioningSet(_Bucketed):
    """Pictures with captions; a caption is cut at the limit."""

    def __init__(
        self,
        records: Sequence[CaptionedPicture],
        vocabulary: Vocabulary,
        network: CaptionerConfig,
        augment: PictureConfig,
        limit: int,
        batch_size: int,
        seed: int,
    ) -> None:
        size = PictureSize(network.image_rows, network.image_columns)
        self._pixels = np.stack([read_png(record.png, size) for record in records])
        encode = vocabulary.tokenizers["target"].encode
        self._captions = [encode(record.caption)[: limit - 1] for record in records]
        super().__init__([max(len(ids), SHORT_CAPTION_TOKENS) for ids in self._captions], batch_size, seed)
        unless = set(augment.mirror_unless)
        self._may_mirror = np.array([unless.isdisjoint(_words(record.caption)) for record in records])

    def batch(self, indices: Order) -> CaptioningBatch:
        captions = [self._captions[i] for i in indices]
        return CaptioningBatch(
            pixels=torch.from_numpy(self._pixels[indices]),
            may_mirror=torch.from_numpy(self._may_mirror[indices]),
            target_inputs=_tensor(pad_ids([[BOS, *ids] for ids in captions])),
            target_outputs=_tensor(pad_ids([[*ids, EOS] for ids in captions])),
        )


def _words(caption: str) -> list[str]:
    """Its words in lower case, without the signs beside them."""
    return re.findall(r"\w+", caption.lower())


def training_set(
    recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Record], *, is_dev: bool = False
) -> TrainingSet:
    """The set for the recipe's task. Dev is always read in windows of one length."""
    size, seed, limit = recipe.training.batch_size, recipe.seed, recipe.limits.max_input_tokens
    network = recipe.network
    if network.task == "tagging":
        sentences = [r for r in records if isinstance(r, TaggedSentence)]
        return TaggingSet(sentences, vocabulary, network.max_word_characters, size, seed)
    if recipe.signal.kind != "none":
        signals = [r for r in records if isinstance(r, LabelledSignal)]
        most = limit * (recipe.signal.samples_per_step if recipe.signal.kind == "waveform" else 1)
        return SignalSet(signals, vocabulary.labels, most, size, seed)
    if network.task == "classification":
        texts = [r for r in records if isinstance(r, LabelledText)]
        spelled = network.max_word_characters if network.characters != "none" else 0
        return ClassificationSet(texts, vocabulary, limit, size, seed, spelled)
    if network.task == "translation":
        return TranslationSet([r for r in records if isinstance(r, SentencePair)], vocabulary, limit, size, seed)
    if network.task == "captioning":
        pictures = [r for r in records if isinstance(r, CaptionedPicture)]
        most = recipe.limits.max_new_tokens
        return CaptioningSet(pictures, vocabulary, network, recipe.picture, most, size, seed)
    if network.task == "forecasting":
        return ForecastingSet(one_series(records), network, size, seed)
    passages = [r for r in records if isinstance(r, Passage)]
    stream = RandomWindowStream if network.random_window and not is_dev else PassageStream
    return stream(passages, vocabulary, network.window, size, seed)


def _tensor(array: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _lengths(sequences: Sequence[Sized]) -> Tensor:
    return torch.tensor([len(sequence) for sequence in sequences])
