"""Video captioner: convolutions over frames, a recurrence over time, and a decoder that looks where and when it needs.

The convolutions see each frame beside the one before it, so that every place knows what moved there. What they give for
the whole frame is read by a recurrence over time in both directions. A place of the memory has the features of its own
and the states of the recurrence at its frame. The forward half alone, which has seen nothing that comes later, tells
after each frame which action is being done and which one comes next: after half of a clip that is a prediction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.pictures import PictureConfig
from training.config.video import VideoConfig
from training.networks.inputs.clip_augmentation import ClipAugmentation
from training.networks.inputs.image_encoder import ImageEncoder
from training.networks.layers.cells import State
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import NetworkGraph, Tensors, float32, int64, uint8
from training.networks.visual.caption_decoder import CaptionDecoder
from training.preprocessing.batches import NO_LABEL, VideoBatch
from training.preprocessing.padded_sequences import length_mask


class VideoCaptioner(CaptionDecoder):
    """An encoder of frames and of time, a decoder of captions, and two classifiers of every moment."""

    def __init__(self, config: VideoConfig, augment: PictureConfig, vocabulary: int, actions: int) -> None:
        super().__init__()
        self.config = config
        self.augmentation = ClipAugmentation(augment)
        self.encoder = ImageEncoder(config.channels, config.convolutions, inputs=6)
        self.num_places = config.grid_rows * config.grid_columns
        channels, width = config.channels[-1], config.recurrent_size
        self.frame = nn.Linear(self.num_places * channels, width)
        self.recurrent = RecurrentEncoder(config.cell, width, width, 1, bidirectional=True)
        self.place_size = channels + 2 * width
        self.build_decoder(config, self.place_size, vocabulary, seen=channels)
        # What is strongest in a frame differs little from frame to frame: see `summary`.
        self.normalise_seen = nn.BatchNorm1d(channels, track_running_stats=False)
        self.moment = nn.Linear(width, width)
        self.action = nn.Linear(width, actions)
        self.next_action = nn.Linear(width, actions)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`encoder`: frames -> memory, memory_keys, first state, actions; `decoder_step`: one token of each row.

        The memory has the places of each frame side by side, so that its steps are those of the clip.
        """
        config, places = self.config, self.num_places
        frames = uint8("frames", "batch", "time", config.image_rows, config.image_columns, 3)
        memory = float32("memory", "batch", "time", places * self.place_size)
        keys = float32("memory_keys", "batch", "time", places * self.attention.key_size)
        told = [float32(name, "batch", "time", self.action.out_features) for name in ("action_logits", "next_logits")]
        sizes = places * self.place_size, places * self.attention.key_size, self.output.out_features
        inputs = (frames, int64("lengths", "batch"))
        return {
            "encoder": NetworkGraph(self._encode, inputs, (memory, keys, *self.state_outputs(), *told)),
            "decoder_step": self._decoder_step_graph(*sizes, places=(places,)),
        }

    def _encode(self, feeds: Tensors) -> Tensors:
        lengths = feeds["lengths"]
        memory, read, _ = self.encode_clips(feeds["frames"], lengths)
        mask = self._places_mask(lengths, feeds["frames"].shape[1])
        state = self.first_state(self.summary(_masked_mean(memory, mask)))
        action, following = self.told_actions(read)
        return {
            "memory": self._by_frame(memory),
            "memory_keys": self._by_frame(self.attention.key(memory)),
            **self.next_state(state),
            "action_logits": action,
            "next_logits": following,
        }

    def encode_clips(
        self, frames: Tensor, lengths: Tensor, may_mirror: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The memory, the forward states, and the strongest features of any place of each frame.

        They are `[batch, time * places, place_size]`, `[batch, time, recurrent_size]` and `[batch, time, channels]`.

        Args:
            frames: `[batch, time, rows, columns, 3]` of 0 to 255.
            lengths: valid frames, `[batch]`.
            may_mirror: with it the clips are augmented.
        """
        clips = (frames.float() / 127.5 - 1.0).permute(0, 1, 4, 2, 3)
        if may_mirror is not None:
            clips = self.augmentation(clips, may_mirror)
        before = torch.cat([clips[:, :1], clips[:, :-1]], dim=1)
        pairs = torch.cat([clips, before], dim=2).flatten(0, 1)
        features = self.encoder(pairs.contiguous(memory_format=torch.channels_last))
        with torch.autocast(frames.device.type, enabled=False):
            cells = features.float().flatten(2).transpose(1, 2).unflatten(0, clips.shape[:2])
            seen = torch.relu(self.frame(self.dropout(cells.flatten(2))))
            states = self.recurrent(seen, lengths)
            around = states.unsqueeze(2).expand(-1, -1, self.num_places, -1)
            memory = torch.cat([cells, around], dim=3).flatten(1, 2)
        return memory, states[:, :, : self.config.recurrent_size], cells.amax(dim=2)

    def told_actions(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[batch, time, actions]` after each frame: of what is being done, and of what comes next.

        The hidden layer tells the same movement before and after a change apart: what comes next depends on both.
        """
        hidden = torch.relu(self.moment(read))
        return self.action(hidden), self.next_action(hidden)

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """See `EncoderDecoder`; `time` counts frames, and a step of the memory has its places side by side.

        The weights are `[batch, steps, time, places]`.
        """
        time, places = memory.shape[1], self.num_places
        by_place = memory.unflatten(2, (places, -1)).flatten(1, 2)
        keys = memory_keys.unflatten(2, (places, -1)).flatten(1, 2)
        logits, weights, state = self.decode_within(tokens, by_place, keys, self._places_mask(lengths, time), state)
        return logits, weights.unflatten(2, (time, places)), state

    def loss(self, batch: VideoBatch, carried: State = ()) -> tuple[Tensor, State]:
        """The caption's loss, and with its weight the mean loss of both actions, told after every frame."""
        mirror = batch.may_mirror if self.training else None
        memory, read, strongest = self.encode_clips(batch.frames, batch.lengths, mirror)
        with torch.autocast(memory.device.type, enabled=False):
            mask = self._places_mask(batch.lengths, batch.frames.shape[1])
            summary = self.summary(_masked_mean(memory, mask))
            targets = batch.target_inputs, batch.target_outputs
            seen = self._seen(strongest, batch.lengths) if self.training else None
            loss = self.caption_loss(self.dropout(memory), mask, summary, targets, seen)
            if self.config.action_weight:
                loss = loss + self.config.action_weight * self._action_loss(read, batch)
        return loss, ()

    def _seen(self, strongest: Tensor, lengths: Tensor) -> list[Tensor]:
        """The normalised features of each frame `[frames, channels]`, for each clip, with dropout."""
        inside = length_mask(lengths, strongest.shape[1])
        normalised = F.dropout(self.normalise_seen(strongest[inside]), self.config.dropout)
        return list(normalised.split(lengths.tolist()))

    def _action_loss(self, read: Tensor, batch: VideoBatch) -> Tensor:
        """-log p of the action and of the next one, after every frame, so that each beginning of a clip is learnt."""
        inside = length_mask(batch.lengths, read.shape[1])
        told = zip(self.told_actions(self.dropout(read)), (batch.actions, batch.next_actions), strict=True)
        return torch.stack([_mean_loss(logits, labels, inside) for logits, labels in told]).sum()

    def _places_mask(self, lengths: Tensor, time: int) -> Tensor:
        """`[batch, time * places]` of bool: the places of valid frames."""
        return length_mask(lengths, time).repeat_interleave(self.num_places, dim=1)

    def _by_frame(self, values: Tensor) -> Tensor:
        """`[batch, time * places, size]` -> `[batch, time, places * size]`."""
        by_frame: Tensor = values.unflatten(1, (-1, self.num_places)).flatten(2)
        return by_frame


def _mean_loss(logits: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
    """Mean of -log p(label) over the valid frames of rows that have a label; 0 where none has."""
    wanted = labels.unsqueeze(1).expand(inside.shape).masked_fill(~inside, NO_LABEL)
    total = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NO_LABEL, reduction="sum")
    mean: Tensor = total / (wanted != NO_LABEL).sum().clamp(min=1)
    return mean


def _masked_mean(memory: Tensor, mask: Tensor) -> Tensor:
    """`[batch, size]`: the mean over the valid places."""
    kept = mask.unsqueeze(2)
    return memory.masked_fill(~kept, 0.0).sum(dim=1) / kept.sum(dim=1)
