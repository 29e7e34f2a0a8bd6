"""The transducer: what it is trained on is what its graphs compute step by step, in torch and in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from service.bundle.tokenizer import BOS
from service.tasks.core.task import Array
from tests.training.tiny_speech import NUM_FEATURES, VOCABULARY, transducer
from training.config.networks import Cell
from training.config.signals import SignalConfig
from training.evaluation.torch_runner import TorchRunner
from training.networks.transducer import Transducer
from training.onnx_graph.parts.builder import serialized
from training.onnx_graph.writers import network_graphs
from training.preprocessing.batches import TranscriptionBatch

FRAMES = SignalConfig(kind="frames", channels=(4,), kernel_size=3, stride=2)
LENGTHS, NUM_TOKENS = torch.tensor([11, 4, 8]), torch.tensor([2, 0, 4])


def plain_transducer(cell: Cell = "lstm", ctc_weight: float = 0.0) -> Transducer:
    """A transducer on frames, two of them a step, without dropout."""
    torch.manual_seed(3)
    return transducer(FRAMES, cell=cell, layers=1, dropout=0.0, ctc_weight=ctc_weight)


def batch_of(padding: int = 0) -> TranscriptionBatch:
    random = torch.Generator().manual_seed(4)
    values = torch.randn(len(LENGTHS), int(LENGTHS.max()), NUM_FEATURES, generator=random)
    tokens = torch.randint(4, VOCABULARY, (len(LENGTHS), int(NUM_TOKENS.max())), generator=random)
    beyond = torch.arange(tokens.shape[1]) >= NUM_TOKENS.unsqueeze(1)
    return TranscriptionBatch(values, LENGTHS, tokens.masked_fill(beyond, padding), NUM_TOKENS)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_of_the_graphs_are_what_the_loss_is_taken_of(cell: Cell) -> None:
    """The predictor run token by token and the joint network on each pair give the log-probabilities of all pairs."""
    network, batch = plain_transducer(cell).eval(), batch_of()
    runner = TorchRunner(network)
    feeds = {"frames": batch.values.numpy(), "lengths": LENGTHS.numpy()}
    start = {name: np.zeros((layers, 3, width), np.float32) for name, (layers, width) in network.state_shapes.items()}
    encoded = runner.run("encoder", feeds | start)["encoded"]
    with torch.no_grad():
        expected = network.all_pairs(torch.from_numpy(encoded), batch.tokens).log_softmax(dim=3).numpy()
    token, names = np.full(3, BOS), network.predictor.state_names
    state = {name: np.zeros((1, 3, network.config.predictor_size), np.float32) for name in names}
    for column in range(expected.shape[2]):
        outputs = runner.run("predictor", {"token": token, **state})
        state = {name: outputs[f"next_{name}"] for name in names}
        for step in range(encoded.shape[1]):
            pairs = {"encoded": encoded[:, step], "predicted": outputs["predicted"]}
            found = runner.run("joint", pairs)["log_probs"]
            np.testing.assert_allclose(found, expected[:, step, column], atol=1e-5)
        token = batch.tokens[:, min(column, batch.tokens.shape[1] - 1)].numpy()


@pytest.mark.parametrize("cell", ["lstm", "gru_before"])
def test_graphs_of_predictor_and_joint_compute_what_torch_computes(cell: Cell) -> None:
    network = plain_transducer(cell).eval()
    runner, random = TorchRunner(network), np.random.default_rng(5)
    for name, graph in network_graphs(network).items():
        session = ort.InferenceSession(serialized(graph.model()))
        feeds = {tensor.name: _random_input(random, tensor.name, tensor.shape) for tensor in graph.inputs}
        expected = runner.run(name, feeds)
        for output, found in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            np.testing.assert_allclose(found, expected[output.name], atol=1e-5, err_msg=f"{name} {output.name}")


def _random_input(random: np.random.Generator, name: str, shape: tuple[int | str, ...]) -> Array:
    sizes = [{"batch": 3, "time": 8}.get(str(axis), axis) for axis in shape]
    if name == "lengths":
        return np.full(3, 8)
    if name == "token":
        return random.integers(1, VOCABULARY, 3)
    return random.normal(size=[int(size) for size in sizes]).astype(np.float32)


def loss_of(network: Transducer, batch: TranscriptionBatch) -> Tensor:
    return network.loss(batch)[0]


def test_loss_is_the_mean_of_each_utterance_alone() -> None:
    """Padding of sounds and transcripts changes nothing, an empty transcript included."""
    network, batch = plain_transducer().eval(), batch_of()
    alone = [
        TranscriptionBatch(
            batch.values[row : row + 1, : LENGTHS[row]],
            LENGTHS[row : row + 1],
            batch.tokens[row : row + 1, : NUM_TOKENS[row]],
            NUM_TOKENS[row : row + 1],
        )
        for row in range(len(LENGTHS))
    ]
    expected = torch.stack([loss_of(network, each) for each in alone]).mean()
    torch.testing.assert_close(loss_of(network, batch), expected)
    torch.testing.assert_close(loss_of(network, batch_of(padding=5)), expected)


def test_ctc_is_added_in_training_only() -> None:
    """With a weight for CTC the training loss rises by it, and every weight has a gradient; on dev nothing changes."""
    plain, both = plain_transducer(), plain_transducer(ctc_weight=0.5)
    both.load_state_dict(plain.state_dict(), strict=False)
    batch = batch_of()
    assert (loss_of(both.train(), batch) > loss_of(plain.train(), batch)).all()
    torch.testing.assert_close(loss_of(both.eval(), batch), loss_of(plain.eval(), batch))
    loss_of(both.train(), batch).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in both.parameters())
