"""Image captioner: convolutional encoder, recurrent decoder with attention (Show, Attend and Tell, Xu et al. 2015).

At each step the decoder attends to the image with its previous hidden state; the gated context is its input, together
with the previous token. Training therefore runs step by step, which is affordable because captions are short. Attention
is soft, a mean over all places, or hard, one place for each word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.tokenizer import EOS
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.networks.encoder_decoder import EncoderDecoder, tied_embedding
from training.networks.inputs.image_augmentation import ImageAugmentation
from training.networks.inputs.image_encoder import ImageEncoder
from training.networks.layers.attention import ATTENTIONS, attend
from training.networks.layers.cells import State, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.layers.hard_attention import PlaceSampler, RewardBaseline, attend_to_one, reinforce_loss
from training.networks.network import NetworkGraph, StateShape, Tensors, float32, recurrent_state, uint8
from training.preprocessing.batches import CaptioningBatch
from training.preprocessing.padded_sequences import length_mask

#: Energies, memory and mask -> context and weights, as `attend`.
Attend = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Decoded(NamedTuple):
    """Logits `[batch, steps, vocab]`, attention weights `[batch, steps, places]`, the state after, and the queries.

    `queries` `[batch, steps, hidden]` are the hidden states before each step.
    """

    logits: Tensor
    weights: Tensor
    state: State
    queries: Tensor


class Captioner(EncoderDecoder):
    """A convolutional image encoder, and a decoder of one recurrent layer."""

    def __init__(self, config: CaptionerConfig, augment: PictureConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        width, memory = config.hidden_size, config.channels[-1]
        self.augmentation = ImageAugmentation(augment)
        self.encoder = ImageEncoder(config.channels, config.convolutions)
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
        self.words = nn.Linear(memory, config.embedding_size)
        self.reward_baseline = RewardBaseline(width) if config.hard_attention else None
        self.output.weight = self.embedding.weight

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        return recurrent_state(self.config.cell, 1, self.config.hidden_size)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`encoder`: pixels -> memory, memory_keys, first state; `decoder_step`: one token of each row."""
        config = self.config
        width, grid, key_size = config.channels[-1], config.grid_rows * config.grid_columns, self.attention.key_size
        pixels = uint8("pixels", "batch", config.image_rows, config.image_columns, 3)
        memory, keys = float32("memory", "batch", grid, width), float32("memory_keys", "batch", grid, key_size)
        return {
            "encoder": NetworkGraph(self._encode, (pixels,), (memory, keys, *self.state_outputs())),
            "decoder_step": self._decoder_step_graph(width, key_size, self.output.out_features),
        }

    def _encode(self, feeds: Tensors) -> Tensors:
        memory, keys, state = self.encode(feeds["pixels"])
        return {"memory": memory, "memory_keys": keys, **self.next_state(state)}

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor, State]:
        """`[batch, rows, columns, 3]` of 0 to 255 -> memory `[batch, grid, channels]`, keys, and the first state.

        The memory has the cells of the feature grid, row by row. Each state tensor is `[1, batch, hidden]`.
        """
        memory, summary = self.encode_images(pixels)
        return memory, self.attention.key(memory), self.first_state(summary)

    def encode_images(self, pixels: Tensor, may_mirror: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The memory, and its normalised mean over the grid, `[batch, channels]`.

        The mean differs little from image to image: without batch normalisation, learning from it is slow. With
        `may_mirror` the images are augmented.
        """
        pictures = (pixels.float() / 127.5 - 1.0).permute(0, 3, 1, 2)
        if may_mirror is not None:
            pictures = self.augmentation(pictures, may_mirror)
        features = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        cells = features.flatten(2).transpose(1, 2).float()
        summary = self.normalise(cells.mean(dim=1))
        return self.dropout(cells), F.dropout(summary, self.config.dropout, self.training)

    def first_state(self, summary: Tensor) -> State:
        """The decoder's first state: one tanh layer over the mean of the memory."""
        first = torch.tanh(self.bridge(summary))
        return tuple(part.unsqueeze(0).contiguous() for part in first.chunk(self.num_states, dim=1))

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """See `EncoderDecoder`; `time` counts the cells of the feature grid. Hard attention: the likeliest place."""
        look = attend_to_one if self.config.hard_attention else attend
        decoded = self.decode_looking(look, tokens, memory, memory_keys, lengths, state)
        return decoded.logits, decoded.weights, decoded.state

    def decode_looking(
        self, look: Attend, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> Decoded:
        """`decode`, with a way to attend."""
        mask = length_mask(lengths, memory.shape[1])
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

    def loss(self, batch: CaptioningBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over tokens of -log p(token), teacher forced; in training with label smoothing and the word loss."""
        memory, summary = self.encode_images(batch.pixels, batch.may_mirror if self.training else None)
        # Only the convolutions gain from half precision; everything else is small.
        with torch.autocast(memory.device.type, enabled=False):
            loss = self._caption_loss(memory, summary, batch)
            if self.training and self.config.word_loss_weight:
                loss = loss + self.config.word_loss_weight * self._word_loss(summary, batch.target_outputs)
        return loss, ()

    def _caption_loss(self, memory: Tensor, summary: Tensor, batch: CaptioningBatch) -> Tensor:
        lengths = torch.full((len(memory),), memory.shape[1], device=memory.device)
        sources = memory, self.attention.key(memory), lengths, self.first_state(summary)
        if self.training and self.reward_baseline is not None:
            sampler = PlaceSampler(self.config.soft_share)
            decoded = self.decode_looking(sampler, batch.target_inputs, *sources)
            expected = self.reward_baseline(decoded.queries)
            loss = self._token_loss(decoded.logits, batch.target_outputs)
            return loss + self._place_loss(sampler, decoded.logits, expected, batch.target_outputs)
        return self._token_loss(self.decode(batch.target_inputs, *sources)[0], batch.target_outputs)

    def _token_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.config.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=smoothing)

    def _place_loss(self, sampler: PlaceSampler, logits: Tensor, expected: Tensor, targets: Tensor) -> Tensor:
        """The loss of hard attention: a place is rewarded with the log-probability of the words."""
        rewards = -F.cross_entropy(logits.detach().transpose(1, 2), targets, ignore_index=0, reduction="none")
        config = self.config
        return config.reinforce_weight * reinforce_loss(sampler, rewards, expected, targets > 0, config.entropy_weight)

    def _word_loss(self, summary: Tensor, targets: Tensor) -> Tensor:
        """Mean over the words of a caption of -log p(word), predicted from the mean of the memory.

        An auxiliary loss that trains the convolutions before the attention has learnt where to look.
        """
        log_probabilities = F.log_softmax(self.output(torch.tanh(self.words(summary))), dim=1)
        is_word = targets > EOS
        of_targets = log_probabilities.gather(1, targets) * is_word
        return -(of_targets.sum(dim=1) / is_word.sum(dim=1).clamp(min=1)).mean()
