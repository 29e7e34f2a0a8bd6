"""The base class of translator and captioners: a recurrent decoder with attention over the memory of an encoder."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from service.bundle.manifest import TensorSpec
from training.networks.layers.cells import State
from training.networks.network import Network, NetworkGraph, Tensors, float32, int64


class EncoderDecoder(Network):
    """A network with the graphs `encoder`, which runs once, and `decoder_step`, which runs for each target token."""

    @abstractmethod
    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Any number of target steps.

        Args:
            tokens: `[batch, steps]`, the target so far.
            memory, memory_keys: from the encoder, `[batch, time, width]` each.
            lengths: valid steps of the memory, `[batch]`.
            state: the decoder's state before the first of these steps.

        Returns:
            logits `[batch, steps, vocab]`, attention weights `[batch, steps, time]`, and the state after.
        """

    def step(
        self, token: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """One step: `token` `[batch]` -> logits `[batch, vocab]`, attention `[batch, time]`, the next state."""
        logits, weights, after = self.decode(token.unsqueeze(1), memory, memory_keys, lengths, state)
        return logits.squeeze(1), weights.squeeze(1), after

    def _decoder_step_graph(
        self,
        memory_size: int,
        key_size: int,
        vocabulary: int,
        further: tuple[TensorSpec, ...] = (),
        places: tuple[int, ...] = (),
    ) -> NetworkGraph:
        """The graph `decoder_step`, with `further` outputs; `places` is the grid of each step of the memory."""
        memory = float32("memory", "batch", "time", memory_size)
        keys = float32("memory_keys", "batch", "time", key_size)
        inputs = [int64("token", "batch"), memory, keys, int64("lengths", "batch"), *self.state_inputs()]
        outputs = [float32("logits", "batch", vocabulary), float32("attention", "batch", "time", *places)]
        return NetworkGraph(self._decoder_step, tuple(inputs), (*outputs, *further, *self.state_outputs()))

    def _decoder_step(self, feeds: Tensors) -> Tensors:
        sources = feeds["memory"], feeds["memory_keys"], feeds["lengths"]
        logits, attention, state = self.step(feeds["token"], *sources, self.state_of(feeds))
        return {"logits": logits, "attention": attention, **self.next_state(state)}


def tied_embedding(vocabulary: int, size: int) -> nn.Embedding:
    """An embedding with weights of variance 1 / size, small enough to be tied to the output layer."""
    table = nn.Embedding(vocabulary, size, padding_idx=0)
    with torch.no_grad():
        table.weight.normal_(0.0, size**-0.5)[0].zero_()
    return table
