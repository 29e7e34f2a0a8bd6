"""The captioner: its graphs equal torch, steps equal teacher forcing, and augmentation is for training only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import open_bundle
from service.tasks.core.task import Picture
from service.tasks.seq2seq.captioning import Captioning, CaptioningParameters
from tests.tiny_pictures import shape_pictures
from tests.training.tiny_captioner import captioner, publish_captioner
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.networks.inputs.image_augmentation import ImageAugmentation
from training.onnx_graph.visual.captioner import folded_batch_norm
from training.preprocessing.batches import CaptioningBatch
from training.publish.verify import verify_bundle


def batch(network_rows: int = 16, network_columns: int = 24, rows: int = 3) -> CaptioningBatch:
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (rows, network_rows, network_columns, 3), generator=draw, dtype=torch.uint8)
    tokens = torch.randint(4, 12, (rows, 5), generator=draw)
    return CaptioningBatch(pixels, torch.ones(rows, dtype=torch.bool), tokens, tokens)


@pytest.mark.parametrize(
    ("changes", "half"),
    [
        ({}, True),
        ({"cell": "gru", "attention": "dot"}, False),
        ({"hard_attention": True}, True),
        ({"cell": "rnn", "channels": [6], "convolutions": 1}, True),
        ({"channels": [4, 5, 6], "image_rows": 8, "image_columns": 8}, False),
    ],
)
def test_what_a_recipe_may_choose_exports_and_verifies(changes: dict[str, Any], half: bool, tmp_path: Path) -> None:
    """Shapes, values against torch, padding, steps and recorded answers agree for every cell, attention and depth."""
    report = publish_captioner(captioner(**changes), tmp_path, half).report
    assert report.passed
    assert {"torch", "padding", "steps", "examples"} <= report.checks.keys()


def test_verifying_finds_a_normalisation_that_was_left_out(tmp_path: Path) -> None:
    """Verification fails for a network whose running statistics differ from those of the bundle."""
    network = captioner()
    path = publish_captioner(network, tmp_path).path
    assert verify_bundle(path, network).passed
    normalise = network.encoder.stages[0][0].normalise
    normalise.running_mean.add_(0.5)
    assert not verify_bundle(path, network).passed


def test_folding_is_what_normalisation_does() -> None:
    normalise = captioner().encoder.stages[1][0].normalise
    factor, summand = folded_batch_norm(normalise)
    features = torch.randn(2, normalise.num_features, 3, 3)
    expected = normalise(features).detach().numpy()
    assert np.allclose(features.numpy() * factor[:, None, None] + summand[:, None, None], expected, atol=1e-5)


def test_a_sentence_at_once_is_its_words_one_by_one() -> None:
    """Teacher forcing and the step graph give the same logits and state, and attention weights that sum to 1."""
    network, given = captioner(), batch()
    with torch.no_grad():
        memory, keys, state = network.encode(given.pixels)
        lengths = torch.full((3,), memory.shape[1])
        logits, looks, after = network.decode(given.target_inputs, memory, keys, lengths, state)
        for step in range(5):
            one, look, state = network.step(given.target_inputs[:, step], memory, keys, lengths, state)
            assert torch.allclose(one, logits[:, step], atol=1e-5)
            assert torch.allclose(look, looks[:, step], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(after, state, strict=True))
    assert torch.allclose(looks.sum(dim=2), torch.ones(3, 5))


def test_one_picture_alone_is_described_as_in_company(tmp_path: Path) -> None:
    """Through onnxruntime, a picture's caption and attention do not depend on the batch."""
    path = publish_captioner(captioner(), tmp_path).path
    task, runner = Captioning(load_bundle(path)), open_bundle(path, device="cpu").runner
    parameters = CaptioningParameters(return_attention=True)
    examples = [task.preprocess(Picture(record.png), parameters) for record in shape_pictures(5)]
    together = task.run(runner, examples)
    for example, output in zip(examples, together, strict=True):
        whole, alone = (task.plain_answer(example, each) for each in (output, task.run(runner, [example])[0]))
        assert whole["text"] == alone["text"]
        attention = whole["attention"]
        assert (attention["rows"], attention["columns"]) == (4, 6)
        assert len(attention["weights"]) == len(attention["tokens"])
        assert np.allclose(np.array(attention["weights"]).sum(axis=1), 1.0, atol=1e-5)
        assert np.allclose(attention["weights"], alone["attention"]["weights"], atol=1e-5)


def test_pictures_are_changed_in_training_alone() -> None:
    """Evaluation is deterministic; augmentation in training is random and repeatable with the seed."""
    network, given = captioner(PictureConfig(shift=0.2, rotation_degrees=30)), batch()
    losses = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        network.train()
        losses.append(network.loss(given)[0].item())
    assert losses[0] == losses[2] != losses[1]
    network.eval()
    assert network.loss(given)[0].item() == network.loss(given)[0].item()


def test_only_what_may_be_mirrored_is() -> None:
    """With mirroring always on, a picture marked as not mirrorable is unchanged."""
    pictures = torch.rand(2, 3, 8, 8) * 2 - 1
    changed = ImageAugmentation(PictureConfig(mirror=1.0))(pictures, torch.tensor([True, False]))
    assert torch.allclose(changed[0], pictures[0].flip(2), atol=1e-5)
    assert torch.allclose(changed[1], pictures[1], atol=1e-5)


def test_nothing_asked_is_nothing_changed() -> None:
    pictures = torch.rand(2, 3, 8, 8) * 2 - 1
    assert torch.equal(ImageAugmentation(PictureConfig())(pictures, torch.ones(2, dtype=torch.bool)), pictures)


def test_everything_asked_keeps_the_range() -> None:
    """All augmentations together keep values within -1 and 1, and change the pictures."""
    everything = PictureConfig(
        shift=0.3,
        scale=0.3,
        rotation_degrees=45,
        outline=0.5,
        brightness=0.5,
        colour=0.5,
        grey=0.5,
        erase=0.5,
        mirror=0.5,
    )
    pictures = torch.rand(6, 3, 12, 12) * 2 - 1
    changed = ImageAugmentation(everything)(pictures, torch.ones(6, dtype=torch.bool))
    assert changed.abs().max() <= 1.0 + 1e-5
    assert not torch.allclose(changed, pictures)


def test_outlines_darken_edges_alone() -> None:
    """Where a picture has one colour nothing changes, and beside an edge it gets darker, but never out of range."""
    pictures = torch.full((20, 3, 8, 8), 0.9)
    pictures[:, :, :, 4:] = -0.6
    outlined = ImageAugmentation(PictureConfig(outline=1.0))(pictures, torch.zeros(20, dtype=torch.bool))
    assert torch.equal(outlined[..., [0, 1, 2, 5, 6, 7]], pictures[..., [0, 1, 2, 5, 6, 7]])
    assert (outlined[..., 3:5] < pictures[..., 3:5]).all()
    assert outlined.min() == -1.0
    some = ImageAugmentation(PictureConfig(outline=0.5))(pictures, torch.zeros(20, dtype=torch.bool))
    assert 0 < sum(torch.equal(*pair) for pair in zip(some, pictures, strict=True)) < 20


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be multiples of 8"):
        CaptionerConfig(image_rows=20, channels=(4, 5, 6))
