"""Records to batches: each record once per epoch, seeded order, and contiguous streams."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import BOS, EOS
from service.errors import UnrollError
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import TokenizerConfig
from training.data.records import LabelledText, Passage, SentencePair, TaggedSentence
from training.preprocessing.batches import ClassificationBatch, LanguageBatch, TaggingBatch, TranslationBatch
from training.preprocessing.batching import Order, TrainingSet
from training.preprocessing.load_records import load_data
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_words
from training.tasks.catalogue import training_task
from training.tasks.classification import ClassificationSet
from training.tasks.generation import PassageStream
from training.tasks.tagging import TaggingSet
from training.tasks.translation import TranslationSet

CHARACTERS = fit_characters(["abcdefghij"])
WORDS = fit_words([["one", "two", "three"]], TokenizerConfig())


def texts_of_lengths(lengths: list[int], batch_size: int = 4, seed: int = 1) -> ClassificationSet:
    vocabulary = Vocabulary({"text": CHARACTERS}, ("x",))
    texts = [LabelledText("a" * length, "x") for length in lengths]
    return ClassificationSet(texts, vocabulary, limit=1000, batch_size=batch_size, seed=seed)


def stream_of(num_tokens: int, window: int = 5, batch_size: int = 3, seed: int = 1) -> PassageStream:
    """A stream whose token number i is the character i modulo 10."""
    text = "".join("abcdefghij"[i % 10] for i in range(num_tokens))
    return PassageStream([Passage(text)], Vocabulary({"text": CHARACTERS}), window, batch_size, seed)


def flat(batches: list[Order]) -> list[int]:
    return [int(index) for batch in batches for index in batch]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=500),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 99),
)
def test_every_record_comes_once_an_epoch(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    """For any number of records, batch size, seed and epoch, no batch is empty or too large."""
    batches = texts_of_lengths(lengths, batch_size, seed).epoch(epoch)
    assert sorted(flat(batches)) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_seed_and_epoch_decide_the_order() -> None:
    """The same seed and epoch give the same batches in a new object, and another seed or epoch gives others."""
    lengths = [1 + number % 7 for number in range(50)]
    first = flat(texts_of_lengths(lengths).epoch(3))
    assert first == flat(texts_of_lengths(lengths).epoch(3))
    assert first != flat(texts_of_lengths(lengths).epoch(4))
    assert first != flat(texts_of_lengths(lengths, seed=2).epoch(3))


def test_near_lengths_stand_together() -> None:
    """Bucketing by length keeps padding small, where arrival order would waste a third or more."""
    lengths = np.random.default_rng(0).integers(1, 60, size=400).tolist()
    made = texts_of_lengths(lengths, batch_size=8)
    batches = [made.batch(order) for order in made.epoch(0)]
    padded = sum(batch.tokens.numel() for batch in batches)
    assert sum(lengths) / padded > 0.95


def test_a_batch_of_tagged_sentences() -> None:
    """Words, characters and tags are zero-padded to the longest; a tag unseen in train is encoded as 0."""
    records = [TaggedSentence(("one", "two"), ("X", "Y")), TaggedSentence(("three",), ("NEW",))]
    vocabulary = Vocabulary({"words": WORDS, "characters": fit_characters(["onetwhr"])}, ("X", "Y"))
    batch = TaggingSet(records, vocabulary, limit=4, batch_size=2, seed=1).batch(np.array([0, 1]))
    assert batch.lengths.tolist() == [2, 1]
    assert batch.words.tolist() == [WORDS.encode_words(["one", "two"]), [*WORDS.encode_words(["three"]), 0]]
    assert batch.tags.tolist() == [[0, 1], [0, 0]]
    assert batch.characters.shape == (2, 2, 4)
    assert not batch.characters[1, 1].any()
    assert not batch.characters[0, 0, 3:].any()


def test_a_batch_of_texts_leaves_out_what_cannot_be_learnt() -> None:
    """Texts without a token or with a label unseen in train are dropped, and long ones are truncated."""
    records = [LabelledText("one two three", "x"), LabelledText("one", "new"), LabelledText(" ", "x")]
    made = ClassificationSet(records, Vocabulary({"text": WORDS}, ("x",)), limit=2, batch_size=4, seed=1)
    (order,) = made.epoch(0)
    batch = made.batch(order)
    assert batch.tokens.tolist() == [WORDS.encode("one two")]
    assert batch.lengths.tolist() == [2]
    assert batch.labels.tolist() == [0]


def test_a_batch_of_spelt_texts_has_the_characters_of_each_word() -> None:
    """Words are cut at the token limit and their characters at the word limit; without one there is one padding id."""
    letters = fit_characters(["onetwhr"])
    vocabulary = Vocabulary({"text": WORDS, "characters": letters}, ("x",))
    records = [LabelledText("one two three", "x"), LabelledText("two", "x")]
    spelt = ClassificationSet(records, vocabulary, 2, 4, seed=1, word_characters=2).batch(np.array([0, 1]))
    o, n, t, w = (letters.encode(letter)[0] for letter in "ontw")
    assert spelt.tokens.tolist() == [WORDS.encode("one two"), [*WORDS.encode("two"), 0]]
    assert spelt.characters.tolist() == [[[o, n], [t, w]], [[t, w], [0, 0]]]
    plain = ClassificationSet(records, vocabulary, 2, 4, seed=1).batch(np.array([0, 1]))
    assert plain.characters.tolist() == [[[0]], [[0]]]


def test_a_batch_of_pairs_is_shifted_by_one() -> None:
    """The decoder reads BOS and the target to predict the target and EOS; sources end in EOS; both are truncated."""
    pairs = [SentencePair("one two three", "two three one"), SentencePair("two", "one")]
    vocabulary = Vocabulary({"source": WORDS, "target": WORDS})
    batch = TranslationSet(pairs, vocabulary, limit=3, batch_size=2, seed=1).batch(np.array([0, 1]))
    one, two, three = WORDS.encode("one two three")
    assert batch.source.tolist() == [[one, two, EOS], [two, EOS, 0]]
    assert batch.source_lengths.tolist() == [3, 2]
    assert batch.target_inputs.tolist() == [[BOS, two, three], [BOS, one, 0]]
    assert batch.target_outputs.tolist() == [[two, three, EOS], [one, EOS, 0]]


@pytest.mark.parametrize("epoch", range(5))
def test_streams_go_on_where_they_ended(epoch: int) -> None:
    """Each row continues the same row of the previous batch, and targets are inputs shifted by one step."""
    made = stream_of(200)
    batches = [made.batch(order) for order in made.epoch(epoch)]
    assert len(batches) > 5
    assert all(batch.inputs.shape == (3, 5) for batch in batches)
    for before, after in itertools.pairwise(batches):
        assert torch.equal(before.targets[:, -1], after.inputs[:, 0])
    for batch in batches:
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        np.testing.assert_array_equal((batch.inputs.numpy() + 1 - 4) % 10, batch.targets.numpy() - 4)


@settings(max_examples=80, deadline=None)
@given(
    num_tokens=st.integers(2, 400),
    window=st.integers(2, 40),
    batch_size=st.integers(1, 12),
    epoch=st.integers(0, 20),
)
def test_no_token_is_read_twice_an_epoch(num_tokens: int, window: int, batch_size: int, epoch: int) -> None:
    """For any text every epoch has a batch, and streams are disjoint and within the text."""
    made = stream_of(num_tokens, window, batch_size)
    batches = made.epoch(epoch)
    assert batches
    width = made.batch(batches[0]).inputs.shape[1]
    read = [start + step for start in flat(batches) for step in range(width)]
    assert len(read) == len(set(read))
    assert min(read) >= 0
    assert max(read) < num_tokens - 1


def test_epochs_of_a_stream_start_at_different_places() -> None:
    """The epoch determines the start offset, so windows are divided at different places in different epochs."""
    starts = [int(stream_of(400).epoch(number)[0][0]) for number in range(8)]
    assert starts == [int(stream_of(400).epoch(number)[0][0]) for number in range(8)]
    assert len(set(starts)) > 1


def test_a_text_shorter_than_a_window_is_one_batch() -> None:
    """Seven tokens with a window of fifty make one row of six steps."""
    made = stream_of(7, window=50)
    (order,) = made.epoch(0)
    assert made.batch(order).inputs.shape == (1, 6)


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_a_text_without_a_next_token_is_refused(num_tokens: int) -> None:
    """The error has the length of the text and the minimum length."""
    with pytest.raises(UnrollError, match=rf"{num_tokens} tokens is too short.*at least 2 tokens"):
        stream_of(num_tokens)


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("tagging", TaggingBatch),
        ("classification", ClassificationBatch),
        ("translation", TranslationBatch),
        ("generation", LanguageBatch),
    ],
)
def test_each_task_has_its_set(task: str, kind: type, tmp_path: Path) -> None:
    """The recipe selects the training set that batches its records."""
    recipe = tiny_recipe(task, tmp_path)  # type: ignore[arg-type]
    chosen = training_task(recipe)
    records = load_data(chosen, recipe).train
    made: TrainingSet = chosen.training_set(recipe, chosen.fit_vocabulary(recipe, records), records)
    assert isinstance(made.batch(made.epoch(0)[0]), kind)


def test_a_long_sentence_is_trained_in_parts(tmp_path: Path) -> None:
    """A sentence beyond the input limit is cut, so that no batch is padded to its length, and no word is lost."""
    words = ("one", "two", "three") * 1000
    sentences = [TaggedSentence(("one",), ("x",)), TaggedSentence(words, ("x",) * len(words), "label")]
    recipe = tiny_recipe("tagging", tmp_path)
    vocabulary = Vocabulary({"words": WORDS, "characters": CHARACTERS}, ("x",))
    data = training_task(recipe).training_set(recipe, vocabulary, sentences)
    batches = [data.batch(order) for order in data.epoch(0)]
    assert all(isinstance(batch, TaggingBatch) for batch in batches)
    lengths = [length for batch in batches if isinstance(batch, TaggingBatch) for length in batch.lengths.tolist()]
    assert (sum(lengths), max(lengths)) == (3001, recipe.limits.max_input_tokens)
