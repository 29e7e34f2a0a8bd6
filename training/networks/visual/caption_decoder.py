"""Decoder of captions: a recurrent layer that attends before each step (Show, Attend and Tell, Xu et al. 2015).

At each step the decoder attends to the memory with its previous hidden state; the gated context is its input, together
with the previous token. Training therefore runs step by step, which is affordable because captions are short. Attention
is soft, a mean over all places, or hard, one place for each word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.tokenizer import EOS
from training.config.networks import CaptionConfig
from training.networks.encoder_decoder import EncoderDecoder, tied_embedding
from training.networks.layers.attention import ATTENTIONS, attend
from training.networks.layers.cells import State, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.layers.hard_attention import PlaceSampler, RewardBaseline, attend_to_one, reinforce_loss
from training.networks.network import StateShape, recurrent_state
from training.preprocessing.padded_sequences import length_mask

#: Energies, memory and mask -> context and weights, as `attend`.
Attend = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


#: A caption with no rarer word than others have counts as less than one word.
_LEAST_WEIGHT = 1e-3


class Decoded(NamedTuple):
    """Logits `[batch, steps, vocab]`, attention weights `[batch, steps, places]`, the state after, and the queries.

    `queries` `[batch, steps, hidden]` are the hidden states before each step.
    """

    logits: Tensor
    weights: Tensor
    state: State
    queries: Tensor


class CaptionDecoder(EncoderDecoder):
    """Base of the captioners: a decoder of one recurrent layer, its first state, and the losses of a caption.

    A subclass makes its encoder first and then calls `build_decoder`, so that a seed gives the weights it always gave.
    """

    caption_config: CaptionConfig

    def build_decoder(self, config: CaptionConfig, memory: int, vocabulary: int, seen: int = 0) -> None:
        """Make the modules of the decoder.

        `memory` is the width of a place that it attends to, and `seen` of what the words are predicted from, if that
        is not the summary of the memory.
        """
        self.caption_config = config
        width = config.hidden_size
        self.dropout = LockedDropout(config.dropout)
        self.word_dropout = WordDropout(config.word_dropout)
        self.embedding = tied_embedding(vocabulary, config.embedding_size)
        self.num_states = len(state_names(config.cell))
        self.normalise = nn.BatchNorm1d(memory)
        self.bridge = nn.Linear(memory, self.num_states * width)
        self.attention = ATTENTIONS[config.attention](width, memory, config.attention_size)
        self.gate = nn.Linear(width, memory)
        self.decoder = recurrence(config.cell, config.embedding_size + memory, width)
        self.readout = nn.Linear(config.embedding_size + width + memory, config.embedding_size)
        self.output = nn.Linear(config.embedding_size, vocabulary)
        self.words = nn.Linear(seen or memory, config.embedding_size)
        self.reward_baseline = RewardBaseline(width) if config.hard_attention else None
        self.output.weight = self.embedding.weight

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        return recurrent_state(self.caption_config.cell, 1, self.caption_config.hidden_size)

    def first_state(self, summary: Tensor) -> State:
        """The decoder's first state: one tanh layer over the mean of the memory."""
        first = torch.tanh(self.bridge(summary))
        return tuple(part.unsqueeze(0).contiguous() for part in first.chunk(self.num_states, dim=1))

    def summary(self, mean: Tensor) -> Tensor:
        """The normalised mean of the memory `[batch, width]`, with dropout.

        The mean differs little from image to image: without batch normalisation, learning from it is slow.
        """
        return F.dropout(self.normalise(mean), self.caption_config.dropout, self.training)

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """See `EncoderDecoder`; `time` counts the places of the memory."""
        return self.decode_within(tokens, memory, memory_keys, length_mask(lengths, memory.shape[1]), state)

    def decode_within(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, mask: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """`decode` with a mask of the places, `[batch, places]` of bool. Hard attention takes the likeliest place."""
        look = attend_to_one if self.caption_config.hard_attention else attend
        decoded = self._decode_looking(look, tokens, memory, memory_keys, mask, state)
        return decoded.logits, decoded.weights, decoded.state

    def _decode_looking(
        self, look: Attend, tokens: Tensor, memory: Tensor, memory_keys: Tensor, mask: Tensor, state: State
    ) -> Decoded:
        embedded = self.dropout(self.embedding(self.word_dropout(tokens)))
        features, all_weights, queries = [], [], []
        for step in range(tokens.shape[1]):
            query = state[0].transpose(0, 1)
            context, weights = look(self.attention.energies(query, memory_keys), memory, mask)
            context = torch.sigmoid(self.gate(query)) * context
            word = embedded[:, step : step + 1]
            output, state = run_recurrence(self.decoder, torch.cat([word, context], dim=2), state)
            features.append(torch.cat([word, output, context], dim=2))
            all_weights.append(weights)
            queries.append(query)
        readout = torch.tanh(self.readout(self.dropout(torch.cat(features, dim=1))))
        logits: Tensor = self.output(self.dropout(readout))
        return Decoded(logits, torch.cat(all_weights, dim=1), state, torch.cat(queries, dim=1))

    def caption_loss(
        self,
        memory: Tensor,
        mask: Tensor,
        summary: Tensor,
        targets: tuple[Tensor, Tensor],
        seen: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Mean over tokens of -log p(token), teacher forced, with label smoothing in training.

        In training the loss of the words predicted from `seen`, or else from the summary, is added with its weight,
        and that of the choice of places if attention is hard. `targets` are the tokens that are read and those that
        follow.
        """
        inputs, outputs = targets
        sources = memory, self.attention.key(memory), mask, self.first_state(summary)
        if self.training and self.reward_baseline is not None:
            loss = self._sampled_loss(self.reward_baseline, inputs, outputs, sources)
        else:
            loss = self._token_loss(self.decode_within(inputs, *sources)[0], outputs)
        if self.training and self.caption_config.word_loss_weight:
            looks = summary.split(1) if seen is None else seen
            loss = loss + self.caption_config.word_loss_weight * self._word_loss(looks, outputs)
        return loss

    def _token_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.caption_config.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=smoothing)

    def _sampled_loss(
        self, baseline: RewardBaseline, inputs: Tensor, targets: Tensor, sources: tuple[Tensor, Tensor, Tensor, State]
    ) -> Tensor:
        """The loss of hard attention: places are drawn, and rewarded with the log-probability of their words."""
        config = self.caption_config
        sampler = PlaceSampler(config.soft_share)
        decoded = self._decode_looking(sampler, inputs, *sources)
        rewards = -F.cross_entropy(decoded.logits.transpose(1, 2), targets, ignore_index=0, reduction="none")
        expected = baseline(decoded.queries)
        choice = reinforce_loss(sampler, rewards, expected, targets > 0, config.entropy_weight)
        return self._token_loss(decoded.logits, targets) + config.reinforce_weight * choice

    def _word_loss(self, seen: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Mean over the words of a caption of -log p(word), predicted from each look at what it describes.

        `seen` holds `[looks, size]` for each caption. An auxiliary loss that trains the convolutions before the
        attention has learnt where to look.
        """
        scores = F.log_softmax(self.output(torch.tanh(self.words(torch.cat(list(seen))))), dim=1)
        log_probabilities = torch.stack([each.mean(dim=0) for each in scores.split([len(looks) for looks in seen])])
        weights = (targets > EOS).float()
        if self.caption_config.rare_words:
            weights = weights * rarity(targets, scores.shape[1])
        of_targets = log_probabilities.gather(1, targets) * weights
        return -(of_targets.sum(dim=1) / weights.sum(dim=1).clamp(min=_LEAST_WEIGHT)).mean()


def rarity(targets: Tensor, vocabulary: int) -> Tensor:
    """Inverse document frequency within a batch of captions `[batch, tokens]`: -log of the share that has a token."""
    is_in = torch.zeros(len(targets), vocabulary, device=targets.device).scatter_(1, targets, 1.0)
    return -is_in.mean(dim=0).log()[targets]
