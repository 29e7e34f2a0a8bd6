"""Random augmentation of pictures during training: the table `[picture]` of a recipe."""

from __future__ import annotations

from pydantic import Field

from training.config.networks import Strict


class PictureConfig(Strict):
    """Each picture of a batch is changed independently; zero turns a change off. Shares are of the picture's size."""

    shift: float = Field(default=0.0, ge=0, lt=1, description="largest translation, as a share of width and height")
    scale: float = Field(default=0.0, ge=0, lt=1, description="largest change of scale, either way")
    rotation_degrees: float = Field(default=0.0, ge=0, le=180, description="largest rotation, either way")
    outline: float = Field(default=0.0, ge=0, le=1, description="share of pictures whose edges are darkened")
    brightness: float = Field(default=0.0, ge=0, lt=1, description="largest shift of all values together")
    colour: float = Field(default=0.0, ge=0, lt=1, description="largest scaling of each of red, green and blue")
    grey: float = Field(default=0.0, ge=0, le=1, description="share of pictures turned to grey scale")
    erase: float = Field(default=0.0, ge=0, lt=1, description="largest side of an erased square")
    mirror: float = Field(default=0.0, ge=0, le=1, description="share of pictures flipped horizontally")
    mirror_unless: tuple[str, ...] = Field(
        default=(), description="words in a caption, such as `flag`, that prevent its picture from being flipped"
    )
