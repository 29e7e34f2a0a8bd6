"""Speech recognition by connectionist temporal classification (CTC, Graves et al. 2006).

A causal front end, a stack of recurrent layers, and for each output step a distribution over tokens and the blank. The
loss sums over all alignments of the transcript with the steps. A network that reads forward only carries its state from
chunk to chunk, so that speech can be streamed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.manifest import TensorSpec
from service.bundle.tokenizer import PAD
from training.config.networks import TranscriberConfig
from training.networks.inputs.streaming_front_end import StreamingFrontEnd
from training.networks.layers.cells import State, state_names
from training.networks.layers.recurrent import recurrent_encoder
from training.networks.network import Network, NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import TranscriptionBatch

#: The token of CTC's blank.
BLANK = PAD


class Encoded(NamedTuple):
    """`values` `[batch, steps, width]`, the steps of each row, and the state after them, by name."""

    values: Tensor
    steps: Tensor
    state: Tensors


class SpeechEncoder(nn.Module):
    """Front end and recurrent layers: the part that CTC and the transducer share."""

    def __init__(self, config: TranscriberConfig, front_end: StreamingFrontEnd) -> None:
        super().__init__()
        self.config = config
        self.front_end = front_end
        self.encoder = recurrent_encoder(config, front_end.output_size)
        self.dropout = nn.Dropout(config.dropout)
        self.output_size = self.encoder.output_size

    @property
    def is_streaming(self) -> bool:
        """Whether no output depends on what comes later than its step."""
        return self.encoder.is_forward_only and not self.front_end.config.normalise_each

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        config = self.config
        if not self.is_streaming:
            return {}
        return self.front_end.state_shapes | recurrent_state(config.cell, config.layers, config.hidden_size)

    @property
    def input_name(self) -> str:
        """The name of the graph's input."""
        return "samples" if self.front_end.spectrogram is not None else "frames"

    def inputs(self) -> list[TensorSpec]:
        """The input of a graph of this encoder, without the state."""
        features = () if self.front_end.spectrogram is not None else (len(self.front_end.mean),)
        return [float32(self.input_name, "batch", "time", *features), int64("lengths", "batch")]

    def read(self, feeds: Tensors) -> Encoded:
        """What a graph computes: a chunk for a network with state, a whole input for others."""
        values, lengths = feeds[self.input_name], feeds["lengths"]
        return self.read_chunk(values, lengths, feeds) if self.is_streaming else self(values, lengths)

    def forward(self, values: Tensor, lengths: Tensor) -> Encoded:
        """A whole input: frames `[batch, time, features]` or samples `[batch, time]`, `[batch]`."""
        features, steps, _ = self.front_end(values, lengths)
        return Encoded(self.dropout(self.encoder(features, steps)), steps, {})

    def read_chunk(self, values: Tensor, lengths: Tensor, state: Tensors) -> Encoded:
        """A chunk that follows `state`. The state after it is right for rows of whole steps."""
        features, steps, after = self.front_end(values, lengths, state)
        parts = tuple(state[name].contiguous() for name in state_names(self.config.cell))
        outputs, recurrent = self.encoder.read_chunk(features, steps, parts)
        after |= dict(zip(state_names(self.config.cell), recurrent, strict=True))
        return Encoded(self.dropout(outputs), steps, after)


class SpeechNetwork(Network):
    """Base of the networks over a speech encoder. Their state is that of the encoder."""

    def __init__(self, config: TranscriberConfig, front_end: StreamingFrontEnd) -> None:
        super().__init__()
        self.config = config
        self.speech = SpeechEncoder(config, front_end)

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        return self.speech.state_shapes

    @property
    def values_per_step(self) -> int:
        return self.speech.front_end.values_per_step

    def encoder_graph(self, name: str, width: int, output: Callable[[Tensor], Tensor]) -> NetworkGraph:
        """The graph `encoder`, whose output `name` `[batch, steps, width]` is computed from those of the encoder."""

        def run(feeds: Tensors) -> Tensors:
            encoded = self.speech.read(feeds)
            state = tuple(encoded.state[part] for part in self.state_shapes)
            return {name: output(encoded.values), **self.next_state(state)}

        inputs = (*self.speech.inputs(), *self.state_inputs())
        return NetworkGraph(run, inputs, (float32(name, "batch", "steps", width), *self.state_outputs()))


class Transcriber(SpeechNetwork):
    """CTC over a speech encoder."""

    def __init__(self, config: TranscriberConfig, front_end: StreamingFrontEnd, vocabulary: int) -> None:
        super().__init__(config, front_end)
        self.output = nn.Linear(self.speech.output_size, vocabulary)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`encoder`: samples or frames, lengths and state -> log-probabilities of tokens, and the next state."""
        return {"encoder": self.encoder_graph("log_probs", self.output.out_features, self._log_probs)}

    def _log_probs(self, encoded: Tensor) -> Tensor:
        return F.log_softmax(self.output(encoded).float(), dim=2)

    def loss(self, batch: TranscriptionBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over utterances of -log p(transcript) / tokens. Transcripts longer than the steps count nothing."""
        encoded = self.speech(batch.values, batch.lengths)
        return mean_per_token(ctc_losses(self.output(encoded.values), encoded.steps, batch), encoded.steps, batch), ()


def ctc_losses(logits: Tensor, steps: Tensor, batch: TranscriptionBatch) -> Tensor:
    """`[batch]` of -log p(transcript) from `[batch, steps, vocab]`; 0 where there are too few steps for the tokens."""
    by_step = F.log_softmax(logits.float(), dim=2).transpose(0, 1)
    lost: Tensor = F.ctc_loss(
        by_step, batch.tokens, steps, batch.num_tokens, blank=BLANK, reduction="none", zero_infinity=True
    )
    return lost


def mean_per_token(losses: Tensor, steps: Tensor, batch: TranscriptionBatch) -> Tensor:
    """The mean over utterances of their losses by token.

    The loss of an empty transcript, which has a blank at every step, is divided by its steps: as a token, a long
    silence would outweigh all speech, and the network would learn to be silent.
    """
    return (losses / torch.where(batch.num_tokens > 0, batch.num_tokens, steps)).mean()
