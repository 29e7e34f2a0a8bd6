"""What a recipe may say about pictures: how they are changed at random while training."""

from __future__ import annotations

from pydantic import Field

from training.config.networks import Strict


class PictureConfig(Strict):
    """Each picture of a batch is changed in its own way; zero leaves it as it is. Shares are of the whole picture."""

    shift: float = Field(default=0.0, ge=0, lt=1, description="moved by at most this share of its width and height")
    scale: float = Field(default=0.0, ge=0, lt=1, description="made larger or smaller by at most this share")
    rotation_degrees: float = Field(default=0.0, ge=0, le=180, description="turned by at most so much, either way")
    brightness: float = Field(default=0.0, ge=0, lt=1, description="all values moved together by at most this share")
    colour: float = Field(default=0.0, ge=0, lt=1, description="red, green and blue stretched by at most this share")
    grey: float = Field(default=0.0, ge=0, le=1, description="share of pictures that lose their colours")
    erase: float = Field(default=0.0, ge=0, lt=1, description="side of a square that is blanked, at most")
    mirror: float = Field(default=0.0, ge=0, le=1, description="share of pictures that are mirrored left to right")
    mirror_unless: tuple[str, ...] = Field(
        default=(), description="a picture whose caption has one of these words is never mirrored, such as `flag`"
    )
