"""Speech recognition by a recurrent neural network transducer (RNN-T, Graves 2012).

An encoder reads the sound, a predictor the tokens written so far, and a joint network gives for each pair of a step and
a prefix of the transcript a distribution over tokens and the blank. Unlike CTC, a token depends on those before it. The
loss sums over all alignments of the transcript with the steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.tokenizer import BOS
from training.config.networks import TranscriberConfig
from training.networks.inputs.streaming_front_end import StreamingFrontEnd
from training.networks.layers.cells import State, state_names
from training.networks.layers.losses.transducer_loss import transducer_loss
from training.networks.layers.recurrent import StatefulStack
from training.networks.network import NetworkGraph, Tensors, float32, int64, next_name
from training.networks.transcriber import SpeechNetwork, ctc_losses, mean_per_token
from training.preprocessing.batches import TranscriptionBatch


class Predictor(nn.Module):
    """Embedding, one recurrent layer and a projection: what the tokens so far say of the next one."""

    def __init__(self, config: TranscriberConfig, vocabulary: int) -> None:
        super().__init__()
        size = config.predictor_size
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=0)
        self.dropout = nn.Dropout(config.predictor_dropout)
        self.stack = StatefulStack(config.cell, size, size, layers=1)
        self.projection = nn.Linear(size, config.joint_size, bias=False)
        self.state_names = tuple(f"predictor_{name}" for name in state_names(config.cell))

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """`[batch, time]` from a state -> `[batch, time, joint]` after each token, and the next state."""
        outputs, after = self.stack(self.dropout(self.embedding(tokens)), state)
        return self.projection(self.dropout(outputs)), after

    def zero_state(self, batch: int, device: torch.device) -> State:
        """The state before the start token."""
        return self.stack.zero_state(batch, device)


class Joint(nn.Module):
    """tanh of the sum of both projections, then a linear layer (Graves, Mohamed and Hinton 2013, section 2.2)."""

    def __init__(self, size: int, vocabulary: int) -> None:
        super().__init__()
        self.output = nn.Linear(size, vocabulary)

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Broadcast `[..., size]` and `[..., size]` -> logits `[..., vocab]`."""
        # In place: for all pairs of a batch the sum is by far the largest tensor of an update.
        logits: Tensor = self.output((encoded + predicted).tanh_())
        return logits


class Transducer(SpeechNetwork):
    """A speech encoder, a predictor and a joint network; in training also CTC over the encoder, if configured."""

    def __init__(self, config: TranscriberConfig, front_end: StreamingFrontEnd, vocabulary: int) -> None:
        super().__init__(config, front_end)
        self.projection = nn.Linear(self.speech.output_size, config.joint_size)
        self.predictor = Predictor(config, vocabulary)
        self.joint = Joint(config.joint_size, vocabulary)
        self.ctc_output = nn.Linear(self.speech.output_size, vocabulary) if config.ctc_weight else None

    def graphs(self) -> dict[str, NetworkGraph]:
        """`encoder`: sound and state -> `encoded`; `predictor`: one token of each row; `joint`: one pair of each row.

        The projections belong to the first two graphs, so that the joint one, which runs most often, is small.
        """
        size, vocabulary = self.config.joint_size, self.joint.output.out_features
        encoded, predicted = float32("encoded", "batch", size), float32("predicted", "batch", size)
        names, width = self.predictor.state_names, self.config.predictor_size
        state = [float32(name, 1, "batch", width) for name in names]
        after = [float32(next_name(name), 1, "batch", width) for name in names]
        return {
            "encoder": self.encoder_graph("encoded", size, self.projection),
            "predictor": NetworkGraph(self._predict, (int64("token", "batch"), *state), (predicted, *after)),
            "joint": NetworkGraph(self._join, (encoded, predicted), (float32("log_probs", "batch", vocabulary),)),
        }

    def _predict(self, feeds: Tensors) -> Tensors:
        state = tuple(feeds[name].contiguous() for name in self.predictor.state_names)
        predicted, after = self.predictor(feeds["token"].unsqueeze(1), state)
        named = zip(self.predictor.state_names, after, strict=True)
        return {"predicted": predicted.squeeze(1), **{next_name(name): part for name, part in named}}

    def _join(self, feeds: Tensors) -> Tensors:
        return {"log_probs": F.log_softmax(self.joint(feeds["encoded"], feeds["predicted"]), dim=1)}

    def loss(self, batch: TranscriptionBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over utterances of -log p(transcript) / tokens; in training plus that of CTC, weighted."""
        encoded = self.speech(batch.values, batch.lengths)
        logits = self.all_pairs(self.projection(encoded.values), batch.tokens)
        losses = transducer_loss(logits.float(), batch.tokens, encoded.steps, batch.num_tokens)
        if self.training and self.ctc_output is not None:
            losses = losses + self.config.ctc_weight * ctc_losses(self.ctc_output(encoded.values), encoded.steps, batch)
        return mean_per_token(losses, encoded.steps, batch), ()

    def all_pairs(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        """`[batch, steps, joint]`, `[batch, tokens]` -> logits of all pairs `[batch, steps, tokens + 1, vocab]`."""
        inputs = F.pad(tokens, (1, 0), value=BOS)
        predicted, _ = self.predictor(inputs, self.predictor.zero_state(len(tokens), tokens.device))
        logits: Tensor = self.joint(encoded.unsqueeze(2), predicted.unsqueeze(1))
        return logits
