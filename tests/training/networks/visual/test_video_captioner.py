"""The video captioner: its graphs equal torch, steps equal teacher forcing, and what comes later is not seen before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import open_bundle
from service.tasks.core.task import Clip
from service.tasks.seq2seq.video import Video, VideoParameters
from tests.tasks.inputs.clips.tiny_clips import square_clips
from tests.training.tiny_video import publish_video, video_captioner
from training.config.pictures import PictureConfig
from training.networks.inputs.clip_augmentation import ClipAugmentation
from training.networks.visual.caption_decoder import rarity
from training.preprocessing.batches import NO_LABEL, VideoBatch
from training.publish.verify import verify_bundle


def batch(rows: int = 3, time: int = 5) -> VideoBatch:
    draw = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (rows, time, 16, 24, 3), generator=draw, dtype=torch.uint8)
    tokens = torch.randint(4, 12, (rows, 4), generator=draw)
    labels = torch.randint(0, 3, (2, rows), generator=draw)
    lengths = torch.tensor([time, time - 2, 1][:rows])
    return VideoBatch(frames, lengths, torch.ones(rows, dtype=torch.bool), labels[0], labels[1], tokens, tokens)


@pytest.mark.parametrize(
    ("changes", "half"),
    [
        ({}, True),
        ({"cell": "gru", "attention": "dot", "hard_attention": True}, False),
        ({"cell": "rnn", "channels": [6], "convolutions": 2, "image_rows": 8, "image_columns": 8}, True),
    ],
)
def test_what_a_recipe_may_choose_exports_and_verifies(changes: dict[str, Any], half: bool, tmp_path: Path) -> None:
    """Shapes, values against torch, padding, steps and recorded answers agree for every cell, attention and depth."""
    report = publish_video(video_captioner(**changes), tmp_path, half).report
    assert report.passed, report.summary()
    assert {"torch", "padding", "steps", "examples"} <= report.checks.keys()


def test_verifying_finds_an_action_layer_that_was_changed(tmp_path: Path) -> None:
    """Verification fails for a network whose layer of next actions differs from that of the bundle."""
    network = video_captioner()
    path = publish_video(network, tmp_path).path
    assert verify_bundle(path, network).passed
    with torch.no_grad():
        network.next_action.bias.add_(0.5)
    assert not verify_bundle(path, network).passed


def test_a_caption_at_once_is_its_words_one_by_one() -> None:
    """Teacher forcing and the step graph give the same logits, and weights that sum to 1 over the valid frames."""
    network, given = video_captioner(), batch()
    with torch.no_grad():
        outputs = network.graphs()["encoder"].function({"frames": given.frames, "lengths": given.lengths})
        memory, keys = outputs["memory"], outputs["memory_keys"]
        state = tuple(outputs[f"next_{name}"] for name in network.state_shapes)
        logits, looks, after = network.decode(given.target_inputs, memory, keys, given.lengths, state)
        for step in range(4):
            one, look, state = network.step(given.target_inputs[:, step], memory, keys, given.lengths, state)
            assert torch.allclose(one, logits[:, step], atol=1e-5)
            assert torch.allclose(look, looks[:, step], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(after, state, strict=True))
    assert looks.shape == (3, 4, 5, network.num_places)
    assert torch.allclose(looks.sum(dim=(2, 3)), torch.ones(3, 4))
    assert looks[2, :, 1:].abs().max() == 0


def test_actions_are_told_from_what_was_seen_so_far() -> None:
    """Other frames at the end change no logits of actions before them, and those of the end do change."""
    network, given = video_captioner(), batch(1)
    other = given.frames.clone()
    other[:, 3:] = 255 - other[:, 3:]
    function = network.graphs()["encoder"].function
    with torch.no_grad():
        first, second = (function({"frames": frames, "lengths": given.lengths}) for frames in (given.frames, other))
    for name in ("action_logits", "next_logits"):
        assert torch.equal(first[name][:, :3], second[name][:, :3])
        assert not torch.allclose(first[name][:, 4], second[name][:, 4])
    assert not torch.allclose(first["memory"][:, 0], second["memory"][:, 0])


def test_one_clip_alone_is_described_as_in_company(tmp_path: Path) -> None:
    """Through onnxruntime, caption, actions and attention of a clip do not depend on the batch nor on padding."""
    path = publish_video(video_captioner(), tmp_path).path
    task, runner = Video(load_bundle(path)), open_bundle(path, device="cpu").runner
    parameters = VideoParameters(return_attention=True, return_moments=True)
    clips = [record.frames[: 1 + number] for number, record in enumerate(square_clips(5))]
    examples = [task.preprocess(Clip(frames=frames), parameters) for frames in clips]
    together = task.run(runner, examples)
    for example, output, frames in zip(examples, together, clips, strict=True):
        whole, alone = (task.plain_answer(example, each) for each in (output, task.run(runner, [example])[0]))
        assert (whole["text"], whole["action"]["label"]) == (alone["text"], alone["action"]["label"])
        assert np.allclose(whole["moments"]["next_action"], alone["moments"]["next_action"], atol=1e-5)
        weights = np.array(whole["attention"]["weights"])
        assert weights.shape[1:] == (len(frames), 6) or not len(weights)
        assert np.allclose(weights, alone["attention"]["weights"], atol=1e-5)


def test_clips_are_changed_in_training_alone() -> None:
    """Evaluation is deterministic; augmentation in training is random and repeatable with the seed."""
    network, given = video_captioner(PictureConfig(shift=0.2, rotation_degrees=30)), batch()
    losses = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        network.train()
        losses.append(network.loss(given)[0].item())
    assert losses[0] == losses[2] != losses[1]
    network.eval()
    assert network.loss(given)[0].item() == network.loss(given)[0].item()


def test_all_frames_of_a_clip_are_changed_alike() -> None:
    """A clip that stands still does so after every augmentation; another clip of the batch is changed otherwise."""
    everything = PictureConfig(
        shift=0.3,
        scale=0.3,
        rotation_degrees=45,
        outline=0.5,
        brightness=0.3,
        colour=0.3,
        grey=0.3,
        erase=0.3,
        mirror=0.5,
    )
    still = (torch.rand(1, 1, 3, 12, 16) * 2 - 1).expand(4, 5, -1, -1, -1)
    torch.manual_seed(3)
    changed = ClipAugmentation(everything)(still, torch.ones(4, dtype=torch.bool))
    assert changed.shape == still.shape
    assert torch.allclose(changed, changed[:, :1].expand_as(changed), atol=1e-6)
    assert not torch.allclose(changed[0], changed[1])
    mirrored = ClipAugmentation(PictureConfig(mirror=1.0))(still, torch.tensor([True, False, False, True]))
    assert torch.allclose(mirrored[0], still[0].flip(3), atol=1e-5)
    assert torch.allclose(mirrored[1], still[1], atol=1e-5)


def test_an_action_that_is_no_label_costs_nothing() -> None:
    """The loss leaves out the actions of a clip whose label train did not have."""
    network, given = video_captioner(action_weight=1.0), batch(1)
    unknown = torch.full((1,), NO_LABEL)
    with torch.no_grad():
        without = network.loss(replace(given, actions=unknown, next_actions=unknown))[0].item()
        whole = network.loss(given)[0].item()
        network.config = network.config.model_copy(update={"action_weight": 0.0})
        assert without == pytest.approx(network.loss(given)[0].item(), rel=1e-5)
    assert whole > without


def test_every_frame_of_a_clip_is_looked_at_for_its_words() -> None:
    """The auxiliary loss has one look for each valid frame, normalised over the frames of all clips, never padding."""
    network = video_captioner(dropout=0.0).train()
    strongest = torch.rand(3, 5, 6) + 4.0
    strongest[1, 3:], strongest[2, 1:] = 1e4, 1e4
    with torch.no_grad():
        network.normalise_seen.weight.fill_(1.0)
        network.normalise_seen.bias.zero_()
        looks = network._seen(strongest, torch.tensor([5, 3, 1]))
    assert [len(each) for each in looks] == [5, 3, 1]
    assert torch.allclose(torch.cat(looks).mean(dim=0), torch.zeros(6), atol=1e-4)


def test_a_word_weighs_the_more_the_fewer_captions_have_it() -> None:
    """A word that all captions of a batch have weighs nothing, however often one of them repeats it."""
    weights = rarity(torch.tensor([[5, 6, 5], [5, 7, 0], [7, 5, 0], [5, 0, 0]]), 9)
    assert weights[0].tolist() == pytest.approx([0.0, np.log(4), 0.0])
    assert weights[1].tolist()[:2] == pytest.approx([0.0, np.log(2)])


def test_rare_words_are_learnt_first_where_a_recipe_says_so() -> None:
    """With `rare_words` the auxiliary loss is that of the rare words alone, if all others are in every caption."""
    words = torch.tensor([[5, 6], [5, 7], [5, 8]])
    losses = []
    for rare in (False, True):
        network = video_captioner(dropout=0.0, label_smoothing=0.0, action_weight=0.0, rare_words=rare).train()
        looks = [torch.ones(1, 6)] * 3
        with torch.no_grad():
            scores = torch.log_softmax(network.output(torch.tanh(network.words(torch.ones(1, 6)))), dim=1)[0]
            losses.append((network._word_loss(looks, words).item(), scores))
    (plain, scores), (weighted, _) = losses
    assert weighted == pytest.approx(-scores[[6, 7, 8]].mean().item(), rel=1e-5)
    assert plain == pytest.approx(-(scores[5] + scores[[6, 7, 8]].mean()).item() / 2, rel=1e-5)
