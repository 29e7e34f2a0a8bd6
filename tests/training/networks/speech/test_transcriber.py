"""Speech recognition by CTC: the causal front end, its streaming state, and the loss."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from service.bundle.tokenizer import PAD
from tests.training.tiny_speech import FRAMES, SOUND, front_end, speech_recipe, transcriber, utterances
from training.config.signals import SignalConfig
from training.networks.inputs import streaming_front_end
from training.networks.transcriber import Transcriber
from training.onnx_graph.parts import streaming_front_end as graph_parts
from training.onnx_graph.parts.builder import serialized
from training.onnx_graph.writers import network_graphs
from training.preprocessing.batches import TranscriptionBatch
from training.tasks.transcription import TranscriptionSet, TranscriptionTask, needed_steps, transcript_tokenizer

STREAMED = SignalConfig(kind="frames", channels=(6,), kernel_size=4, stride=3, running_mean=True)


def values_of(signal: SignalConfig, steps: int, rows: int = 2) -> Tensor:
    torch.manual_seed(steps)
    time = steps * front_end(signal).values_per_step
    return torch.randn(rows, time) if signal.kind == "waveform" else torch.randn(rows, time, 4)


@pytest.mark.parametrize("signal", [SOUND, STREAMED], ids=["sound", "frames"])
@pytest.mark.parametrize("cuts", [(1, 1, 1, 8), (4, 7), (10, 1), (2, 5, 4)], ids=str)
def test_features_in_chunks_are_those_of_the_whole(signal: SignalConfig, cuts: tuple[int, ...]) -> None:
    """Framing, running mean and subsampling carry over borders of chunks: samples exactly, sums but for rounding."""
    module = front_end(signal).eval()
    values, per_step = values_of(signal, sum(cuts)), module.values_per_step
    whole = module(values, torch.full((2,), values.shape[1]))
    state, found = module.zero_state(2), []
    for chunk in values.split([cut * per_step for cut in cuts], dim=1):
        features, _, state = module(chunk, torch.full((2,), chunk.shape[1]), state)
        found.append(features)
    torch.testing.assert_close(torch.cat(found, dim=1), whole.values, atol=2e-6, rtol=1e-5)
    for name in module.state_shapes:
        exact = name in ("audio", "norm_count")
        torch.testing.assert_close(state[name], whole.state[name], atol=0 if exact else 2e-5, rtol=0 if exact else 1e-5)


@pytest.mark.parametrize("cuts", [(4,) * 8, (1,) * 32, (3, 4, 1) * 4], ids=str)
def test_a_stream_without_end_halves_what_its_running_mean_has_read(
    cuts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, at the same frames however it is cut, in torch and in the graph."""
    monkeypatch.setattr(streaming_front_end, "MOST_FRAMES", 24)
    monkeypatch.setattr(graph_parts, "MOST_FRAMES", 24)
    network = transcriber(STREAMED).eval()
    values, state = values_of(STREAMED, sum(cuts)), network.speech.front_end.zero_state(2)
    session = ort.InferenceSession(serialized(network_graphs(network)["encoder"].model()))
    in_graph = {name: np.zeros((size, 2, width), np.float32) for name, (size, width) in network.state_shapes.items()}
    for chunk in values.split([3 * cut for cut in cuts], dim=1):
        feeds = {"frames": chunk.numpy(), "lengths": np.full(2, chunk.shape[1])}
        outputs = session.run(None, feeds | in_graph)
        in_graph = dict(zip(in_graph, outputs[1:], strict=True))
        _, _, state = network.speech.front_end(chunk, torch.full((2,), chunk.shape[1]), state)
    total, count = torch.zeros(2, 4), 0
    for frame in ((values + 3.0) / 2.0).unbind(dim=1):  # by mean and deviation of the scale
        if count == 24:
            total, count = total / 2, 12
        total, count = total + frame, count + 1
    for found in (state, {name: torch.from_numpy(value) for name, value in in_graph.items()}):
        assert found["norm_count"].flatten().tolist() == [count, count]
        torch.testing.assert_close(found["norm_sum"][0], total, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("signal", [SOUND, STREAMED, FRAMES], ids=["sound", "streamed frames", "whole frames"])
def test_padding_and_what_follows_change_no_output(signal: SignalConfig) -> None:
    """A row has the outputs that it has alone, whatever stands beyond its length; parts of steps count as a step."""
    network = transcriber(signal, bidirectional=signal is FRAMES).eval()
    values, per_step = values_of(signal, 9, rows=3), network.values_per_step
    lengths = torch.tensor([9 * per_step, 4 * per_step + 1, 1])
    together = network.speech(values, lengths)
    assert together.steps.tolist() == [9, 5, 1]
    for row, (length, steps) in enumerate(zip(lengths.tolist(), together.steps.tolist(), strict=True)):
        alone = network.speech(values[row : row + 1, :length], lengths[row : row + 1]).values[0]
        torch.testing.assert_close(together.values[row, :steps], alone, atol=1e-6, rtol=1e-5)


def test_no_output_depends_on_what_comes_later() -> None:
    """Changed samples after the end of a step leave every output up to it as it was."""
    network = transcriber(SOUND).eval()
    values, per_step = values_of(SOUND, 8), network.values_per_step
    changed = values.clone()
    changed[:, 5 * per_step :] += 1.0
    lengths = torch.full((2,), values.shape[1])
    before, after = (network.speech(each, lengths).values for each in (values, changed))
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5], after[:, 5])


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of an alignment: repeats are one, blanks are none."""
    kept = [token for token, before in zip(path, (PAD, *path), strict=False) if token != before]
    return tuple(token for token in kept if token != PAD)


def test_the_loss_is_that_of_all_alignments() -> None:
    """The loss sums over every alignment that collapses to the transcript, divided by its tokens, or steps if empty."""
    network = transcriber(SOUND).eval()
    values = values_of(SOUND, 4, rows=1)
    lengths = torch.tensor([values.shape[1]])
    state = {name: torch.zeros(shape.layers, 1, shape.width) for name, shape in network.state_shapes.items()}
    feeds = {"samples": values, "lengths": lengths, **state}
    log_probs = network.graphs()["encoder"].function(feeds)["log_probs"][0]
    for transcript in ((4,), (4, 5), (5, 5), ()):
        batch = TranscriptionBatch(values, lengths, torch.tensor([transcript]), torch.tensor([len(transcript)]))
        paths = [
            path for path in product(range(network.output.out_features), repeat=4) if collapsed(path) == transcript
        ]
        total = torch.logsumexp(torch.stack([log_probs[range(4), path].sum() for path in paths]), dim=0)
        terms = len(transcript) or 4
        assert network.loss(batch)[0].item() == pytest.approx(-total.item() / terms, rel=1e-4)


def test_training_sets_leave_out_what_cannot_be_aligned_and_flush_the_rest() -> None:
    """An utterance with fewer steps than its tokens need is left out; after the others silence follows."""
    records = [each._replace(text="one one two") for each in utterances(SOUND)]
    tokenizer = transcript_tokenizer(speech_recipe(SOUND).tokenizer, records)
    assert needed_steps(tokenizer.encode("one one two")) == 4
    short = records[0]._replace(values=records[0].values[:320])
    made = TranscriptionSet([short, *records[1:]], tokenizer, 320, 960, 8, 1)
    assert made.num_left_out == 0, "three steps of silence follow"
    made = TranscriptionSet([short, *records[1:]], tokenizer, 320, 0, 8, 1)
    assert made.num_left_out == 1
    flushed = TranscriptionSet(records, tokenizer, 320, 640, 8, 1)
    (order,) = flushed.epoch(0)
    batch = flushed.batch(order)
    ends = [len(records[index].values) for index in order]
    assert batch.lengths.tolist() == [end + 640 for end in ends]
    assert all(not batch.values[row, end:].any() for row, end in enumerate(ends))


@pytest.mark.parametrize(("signal", "streams"), [(SOUND, True), (FRAMES, False)], ids=["sound", "frames"])
def test_the_task_makes_what_its_options_say(signal: SignalConfig, streams: bool) -> None:
    """Options tell the step of the network, and only a network that reads forward has a state and reads silence."""
    recipe, task = speech_recipe(signal, bidirectional=not streams), TranscriptionTask()
    records = utterances(signal)
    vocabulary = task.fit_vocabulary(recipe, records)
    network, options = task.network(recipe, vocabulary), task.options(recipe, vocabulary)
    assert isinstance(network, Transcriber)
    assert options.values_per_step == network.values_per_step
    assert bool(network.state_shapes) == bool(options.flush_steps) == streams
    loss, _ = network.loss(task.training_set(recipe, vocabulary, records).batch(np.arange(4)))
    assert torch.isfinite(loss)
