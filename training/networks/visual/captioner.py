"""Image captioner: convolutional encoder, recurrent decoder with attention (Show, Attend and Tell, Xu et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.networks.inputs.image_augmentation import ImageAugmentation
from training.networks.inputs.image_encoder import ImageEncoder
from training.networks.layers.cells import State
from training.networks.network import NetworkGraph, Tensors, float32, uint8
from training.networks.visual.caption_decoder import CaptionDecoder
from training.preprocessing.batches import CaptioningBatch
from training.preprocessing.padded_sequences import length_mask


class Captioner(CaptionDecoder):
    """A convolutional image encoder, and a decoder of one recurrent layer."""

    def __init__(self, config: CaptionerConfig, augment: PictureConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.augmentation = ImageAugmentation(augment)
        self.encoder = ImageEncoder(config.channels, config.convolutions)
        self.build_decoder(config, config.channels[-1], vocabulary)

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

        With `may_mirror` the images are augmented.
        """
        pictures = (pixels.float() / 127.5 - 1.0).permute(0, 3, 1, 2)
        if may_mirror is not None:
            pictures = self.augmentation(pictures, may_mirror)
        features = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        cells = features.flatten(2).transpose(1, 2).float()
        return self.dropout(cells), self.summary(cells.mean(dim=1))

    def loss(self, batch: CaptioningBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over tokens of -log p(token), teacher forced; in training with label smoothing and the word loss."""
        memory, summary = self.encode_images(batch.pixels, batch.may_mirror if self.training else None)
        # Only the convolutions gain from half precision; everything else is small.
        with torch.autocast(memory.device.type, enabled=False):
            lengths = torch.full((len(memory),), memory.shape[1], device=memory.device)
            mask = length_mask(lengths, memory.shape[1])
            loss = self.caption_loss(memory, mask, summary, (batch.target_inputs, batch.target_outputs))
        return loss, ()
