"""Runs a torch network under the graph and tensor names of a bundle: the reference that exported graphs must match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from service.tasks.core.task import Array
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.network import Network
from training.networks.transducer import Transducer


class TorchRunner:
    """A `service.tasks.core.task.Runner` on a torch network. Runs in evaluation mode, without gradients."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._graphs = network.graphs()

    @property
    def graphs(self) -> Set[str]:
        """The names of the network's graphs."""
        return self._graphs.keys()

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once: inputs by name in, outputs by name out."""
        device = next(self._network.parameters()).device
        tensors = {name: torch.from_numpy(array).to(device) for name, array in feeds.items()}
        with evaluating(self._network), torch.no_grad():
            outputs = self._graphs[graph].function(tensors)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, the previous mode afterwards."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside the block: enough for small batches, and sums do not depend on the number of cores."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def decode_whole(network: EncoderDecoder, tokens: Array, feeds: Mapping[str, Array]) -> tuple[Array, Array]:
    """Decode all of `tokens` `[batch, steps]` at once, as in training, from the other feeds of `decoder_step`.

    Returns:
        logits `[batch, steps, vocab]` and attention weights `[batch, steps, time]`.
    """
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    sources = tensors["memory"], tensors["memory_keys"], tensors["lengths"]
    with evaluating(network), torch.no_grad():
        logits, attention, _ = network.decode(torch.from_numpy(tokens), *sources, network.state_of(tensors))
    return logits.numpy(), attention.numpy()


def joint_of_all_pairs(network: Transducer, encoded: Array, tokens: Array) -> Array:
    """Log-probabilities `[batch, steps, tokens + 1, vocab]` of all steps with all prefixes, computed as in training.

    `encoded` is `[batch, steps, joint]`, `tokens` `[batch, tokens]`.
    """
    with evaluating(network), torch.no_grad():
        logits = network.all_pairs(torch.from_numpy(encoded), torch.from_numpy(tokens))
    return np.asarray(logits.log_softmax(dim=3).numpy())


def transitions_of(network: Network) -> Array | None:
    """The transition scores of a CRF, float32 `[labels + 1, labels + 1]`; None for a network without one."""
    transitions = network.transitions()
    return None if transitions is None else np.asarray(transitions.detach().cpu().float().numpy())
