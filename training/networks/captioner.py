"""A picture in words: convolutional encoder, recurrent decoder with attention (Show, Attend and Tell, Xu et al. 2015).

For each word the decoder asks, with the state that it comes from, where in the picture to look; what it finds there,
weighed by a gate, is read together with the word before. Captions are short, so that training can afford to go step
by step, which this order of things demands.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.tokenizer import EOS
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.networks.encoder_decoder import EncoderDecoder, tied_embedding
from training.networks.inputs.image_encoder import PictureEncoder
from training.networks.inputs.picture_augmentation import PictureAugmentation
from training.networks.layers.attention import ATTENTIONS, attend
from training.networks.layers.cells import State, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.network import NetworkGraph, StateShape, Tensors, float32, recurrent_state, uint8
from training.preprocessing.batches import CaptioningBatch
from training.preprocessing.padded_sequences import length_mask


class Captioner(EncoderDecoder):
    """A convolutional encoder; a decoder of one recurrent layer that attends before each step."""

    def __init__(self, config: CaptionerConfig, augment: PictureConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        width, memory = config.hidden_size, config.channels[-1]
        self.augmentation = PictureAugmentation(augment)
        self.encoder = PictureEncoder(config.channels, config.convolutions)
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

        The places of the grid are counted row by row. Each state tensor is `[1, batch, hidden]`.
        """
        memory, summary = self.look(pixels)
        return memory, self.attention.key(memory), self.first_state(summary)

    def look(self, pixels: Tensor, may_mirror: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The memory, and the mean of all its places `[batch, channels]`, normalised.

        The mean of many places differs little from picture to picture: without normalisation it is learnt from slowly.
        With `may_mirror` the pictures are changed at random.
        """
        pictures = (pixels.float() / 127.5 - 1.0).permute(0, 3, 1, 2)
        if may_mirror is not None:
            pictures = self.augmentation(pictures, may_mirror)
        features = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        places = features.flatten(2).transpose(1, 2).float()
        summary = self.normalise(places.mean(dim=1))
        return self.dropout(places), F.dropout(summary, self.config.dropout, self.training)

    def first_state(self, summary: Tensor) -> State:
        """One tanh layer over the summary of a picture."""
        first = torch.tanh(self.bridge(summary))
        return tuple(part.unsqueeze(0).contiguous() for part in first.chunk(self.num_states, dim=1))

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """As in `EncoderDecoder`; the time of the memory are the places of the grid."""
        mask = length_mask(lengths, memory.shape[1])
        embedded = self.dropout(self.embedding(self.word_dropout(tokens)))
        found, looks = [], []
        for step in range(tokens.shape[1]):
            query = state[0].transpose(0, 1)
            context, weights = attend(self.attention.energies(query, memory_keys), memory, mask)
            context = torch.sigmoid(self.gate(query)) * context
            word = embedded[:, step : step + 1]
            output, state = run_recurrence(self.decoder, torch.cat([word, context], dim=2), state)
            found.append(torch.cat([word, output, context], dim=2))
            looks.append(weights)
        readout = torch.tanh(self.readout(self.dropout(torch.cat(found, dim=1))))
        logits: Tensor = self.output(self.dropout(readout))
        return logits, torch.cat(looks, dim=1), state

    def loss(self, batch: CaptioningBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over tokens of -log p(token); teacher forcing. While training with label smoothing and the word loss."""
        memory, summary = self.look(batch.pixels, batch.may_mirror if self.training else None)
        # Only convolutions gain by half precision: all else is small here.
        with torch.autocast(memory.device.type, enabled=False):
            loss = self._caption_loss(memory, summary, batch)
            if self.training and self.config.word_loss_weight:
                loss = loss + self.config.word_loss_weight * self._word_loss(summary, batch.target_outputs)
        return loss, ()

    def _caption_loss(self, memory: Tensor, summary: Tensor, batch: CaptioningBatch) -> Tensor:
        lengths = torch.full((len(memory),), memory.shape[1], device=memory.device)
        state = self.first_state(summary)
        logits, _, _ = self.decode(batch.target_inputs, memory, self.attention.key(memory), lengths, state)
        smoothing = self.config.label_smoothing if self.training else 0.0
        targets = batch.target_outputs.flatten()
        return F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=0, label_smoothing=smoothing)

    def _word_loss(self, summary: Tensor, targets: Tensor) -> Tensor:
        """-log p of a word drawn from the caption, guessed from the summary of the picture.

        The convolutions learn from it what is in a picture long before the decoder knows where to look.
        """
        guessed = F.log_softmax(self.output(torch.tanh(self.words(summary))), dim=1)
        is_word = targets > EOS
        of_targets = guessed.gather(1, targets) * is_word
        return -(of_targets.sum(dim=1) / is_word.sum(dim=1).clamp(min=1)).mean()
