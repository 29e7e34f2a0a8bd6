"""Statistics of batch normalisation: what is scored and exported has those that fit its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.fit.test_trainer import make_trainer
from tests.training.tiny_captioner import captioner
from tests.training.tiny_runs import tiny_recipe
from training.config.pictures import PictureConfig
from training.config.recipe import TrainingConfig
from training.fit.batch_statistics import batch_norms, fitting_statistics
from training.fit.trainer import DevScore, Trainer
from training.networks.classifier import Classifier
from training.networks.network import Network
from training.networks.visual.captioner import Captioner
from training.preprocessing.batches import Batch, CaptioningBatch
from training.preprocessing.batching import Order
from training.preprocessing.tensor_file import read_tensors


def batches(number: int = 3) -> list[Batch]:
    """Random pictures, with captions of four tokens."""
    draw = torch.Generator().manual_seed(1)
    found: list[Batch] = []
    for _ in range(number):
        pixels = torch.randint(0, 256, (4, 16, 24, 3), generator=draw, dtype=torch.uint8)
        tokens = torch.randint(4, 12, (4, 4), generator=draw)
        found.append(CaptioningBatch(pixels, torch.ones(4, dtype=torch.bool), tokens, tokens))
    return found


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def mean_loss(network: Network, given: list[Batch]) -> float:
    with torch.no_grad():
        return sum(float(network.loss(each, ())[0]) for each in given) / len(given)


def first_layer(network: Captioner, batch: Batch) -> Tensor:
    """What the first layer normalises, `[batch, channels, rows, columns]`."""
    assert isinstance(batch, CaptioningBatch)
    layer = next(module for module in network.encoder.modules() if isinstance(module, nn.Conv2d))
    features: Tensor = layer((batch.pixels.float() / 127.5 - 1.0).permute(0, 3, 1, 2))
    return features


def test_they_are_the_plain_mean_over_the_batches() -> None:
    """Mean and variance of the first layer are those of its inputs, averaged over all batches alike."""
    network, given = captioner(), batches()
    with torch.no_grad():
        seen = [first_layer(network, each) for each in given]
    with fitting_statistics(network, given, "fp32"):
        layer = batch_norms(network.encoder)[0]
        assert layer.running_mean is not None
        assert layer.running_var is not None
        torch.testing.assert_close(layer.running_mean, torch.stack([each.mean((0, 2, 3)) for each in seen]).mean(0))
        torch.testing.assert_close(layer.running_var, torch.stack([each.var((0, 2, 3)) for each in seen]).mean(0))


def test_weights_that_moved_away_from_theirs_are_scored_rightly() -> None:
    """After the weights of the convolutions have grown, the loss is the one before, but not with the old statistics."""
    network, given = captioner(), batches()
    with fitting_statistics(network, given, "fp32"):
        before = mean_loss(network, given)
        with torch.no_grad():
            for module in network.encoder.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.mul_(3.0)
        assert mean_loss(network, given) != pytest.approx(before, rel=1e-2)
        with fitting_statistics(network, given, "fp32"):
            assert mean_loss(network, given) == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("is_training", [True, False])
def test_the_network_goes_on_as_if_nothing_had_been(is_training: bool) -> None:
    """Afterwards statistics, mode, momentum and random numbers are as before, even where scoring failed."""
    network = captioner(PictureConfig(shift=0.2, mirror=0.5)).train(is_training)
    own, random, momenta = statistics(network), torch.get_rng_state(), [each.momentum for each in batch_norms(network)]
    with contextlib.suppress(ZeroDivisionError), fitting_statistics(network, batches(), "fp32"):
        assert all(each.training is is_training for each in batch_norms(network))
        assert not torch.equal(statistics(network)["normalise.running_mean"], own["normalise.running_mean"])
        raise ZeroDivisionError
    assert all(torch.equal(value, own[name]) for name, value in statistics(network).items())
    assert [each.momentum for each in batch_norms(network)] == momenta
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training is is_training


def test_a_network_without_them_reads_no_batch(tmp_path: Path) -> None:
    """Where no layer normalises batches, scoring costs nothing more."""
    trainer = make_trainer(tiny_recipe("classification", tmp_path / "data"), tmp_path / "run")

    def none() -> Iterator[Batch]:
        raise AssertionError("a batch was asked for")
        yield

    assert isinstance(trainer.state.network, Classifier)
    with fitting_statistics(trainer.state.network, none(), "fp32"):
        pass


class Pictures:
    """A training set of the same batches in every epoch."""

    def __init__(self) -> None:
        self.batches = batches(5)

    def epoch(self, _number: int) -> list[Order]:
        return [np.array([number]) for number in range(len(self.batches))]

    def batch(self, indices: Order) -> Batch:
        return self.batches[int(indices[0])]


def test_what_is_saved_has_the_statistics_it_was_scored_with(tmp_path: Path) -> None:
    """The best weights are the averages with statistics that fit them; the network goes on with its own ones."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    folder = make_trainer(recipe, tmp_path / "run")._folder
    config = TrainingConfig(epochs=1, batch_size=4, ema_decay=0.9, learning_rate=0.05, threads=1)
    network, scored = captioner(), dict[str, Tensor]()

    def score(given: Network) -> DevScore:
        scored.update({name: value.clone() for name, value in given.state_dict().items()})
        return DevScore(1.0)

    data = Pictures()
    Trainer(network, data, config, folder, score, torch.device("cpu")).fit()
    saved, _ = read_tensors(folder.best_weights)
    assert all(torch.equal(value, scored[name]) for name, value in saved.items())
    now = network.state_dict()
    assert not torch.equal(now["normalise.running_mean"], saved["normalise.running_mean"])
    assert not torch.equal(now["encoder.stages.0.0.convolution.weight"], saved["encoder.stages.0.0.convolution.weight"])
    network.load_state_dict(saved, strict=False)
    with fitting_statistics(network, data.batches, "fp32"):
        torch.testing.assert_close(network.state_dict()["normalise.running_var"], saved["normalise.running_var"])
