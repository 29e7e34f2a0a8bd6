"""Random-length windows: the same text, divided differently in every epoch."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.fit.test_trainer import assert_same_run, make_trainer, terminate
from tests.training.tiny_runs import tiny_recipe
from training.data.records import Passage
from training.fit import run_folder
from training.fit.trainer import Interrupted
from training.pipeline.run import prepare_run
from training.preprocessing.vocabulary import Vocabulary, fit_characters
from training.tasks.generation import RandomWindowStream

CHARACTERS = fit_characters(["abcdefghij"])


def stream_of(num_tokens: int, window: int = 30, batch_size: int = 3, seed: int = 1) -> RandomWindowStream:
    text = "".join("abcdefghij"[i % 10] for i in range(num_tokens))
    return RandomWindowStream([Passage(text)], Vocabulary({"text": CHARACTERS}), window, batch_size, seed)


@settings(max_examples=60, deadline=None)
@given(
    num_tokens=st.integers(2, 600),
    window=st.integers(2, 60),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 20),
)
def test_windows_follow_on_each_other(num_tokens: int, window: int, batch_size: int, epoch: int) -> None:
    """For any text, each row continues where it ended, and all rows together cover it once, up to a remainder."""
    made = stream_of(num_tokens, window, batch_size)
    orders = made.epoch(epoch)
    for before, after in itertools.pairwise(orders):
        assert (before.sum(axis=1) == after[:, 0]).all()
    read = [place for order in orders for start, length in order for place in range(start, start + length)]
    assert len(read) == len(set(read))
    assert max(read) < num_tokens - 1
    assert num_tokens - 1 - len(read) < len(orders[0])


def test_a_batch_is_what_its_order_says() -> None:
    """Targets are inputs shifted by one step, and rows have the drawn length."""
    made = stream_of(2000)
    for order in made.epoch(0):
        batch = made.batch(order)
        assert batch.inputs.shape == (3, order[0, 1])
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])


def test_lengths_are_drawn_anew_each_epoch_and_the_same_again() -> None:
    """Most lengths are near the usual one, some near half of it, as determined by seed and epoch."""
    lengths = [[int(order[0, 1]) for order in stream_of(60_000).epoch(number)] for number in (0, 0, 1)]
    assert lengths[0] == lengths[1] != lengths[2]
    near = [abs(length - 30) < 15 for length in lengths[0][:-1]]
    assert 0.85 < sum(near) / len(near) < 1


def test_dev_is_read_in_windows_of_one_length(tmp_path: Path) -> None:
    """Dev is read in windows of constant length, so its loss does not depend on random draws."""
    prepared = prepare_run(tiny_recipe("generation", tmp_path))
    network = prepared.recipe.network.model_copy(update={"random_window": True})
    recipe = prepared.recipe.model_copy(update={"network": network})
    train = prepared.task.training_set(recipe, prepared.vocabulary, prepared.data.train)
    dev = prepared.task.training_set(recipe, prepared.vocabulary, prepared.data.dev, is_dev=True)
    assert isinstance(train, RandomWindowStream)
    assert not isinstance(dev, RandomWindowStream)


def test_resuming_within_an_epoch_is_never_having_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming is exact with all randomness of language models: windows, word dropout, weight drop and sampling."""
    monkeypatch.setattr(run_folder, "LOG_EVERY_STEPS", 2)
    recipe = tiny_recipe("generation", tmp_path / "data", epochs=2)
    menu = {"random_window": True, "weight_drop": 0.4, "embedding_dropout": 0.2, "sampled_softmax": 4}
    recipe = recipe.model_copy(update={"network": recipe.network.model_copy(update=menu)})
    with pytest.raises(Interrupted):
        make_trainer(recipe, tmp_path / "stopped", at=7, then=terminate).fit()
    torch.manual_seed(99)
    make_trainer(recipe, tmp_path / "stopped").fit()
    make_trainer(recipe, tmp_path / "straight").fit()
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
