"""Network configuration of video: the table `[network]` of a recipe for short clips."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.networks import MAX_SIZE, CaptionConfig


class VideoConfig(CaptionConfig):
    """Convolutions over each frame and the one before it, a recurrence over time, and a decoder with attention.

    Attention is over the places of every frame. Two output layers read the forward half of the recurrence after each
    frame: what is being done, and what comes next.
    """

    task: Literal["video"] = "video"
    image_rows: int = Field(default=48, ge=8, le=256, description="size that frames are resized to")
    image_columns: int = Field(default=48, ge=8, le=256)
    channels: tuple[int, ...] = Field(
        default=(24, 32, 48, 96), min_length=1, description="channels of each stage; each stage halves the resolution"
    )
    max_frames: int = Field(default=16, ge=1, le=64, description="frames of a clip that are read, evenly spread")
    recurrent_size: int = Field(default=128, ge=1, le=MAX_SIZE, description="of the recurrence over time, each way")
    action_weight: float = Field(
        default=1.0, ge=0, description="weight of the action and of the next one; that of the caption is 1"
    )
