"""The tables `[signal]` and `[augment]` of a recipe: what a network that does not read text reads instead."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SignalKind = Literal["none", "frames", "waveform"]


class _Table(BaseModel):
    """Immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SignalConfig(_Table):
    """How a sequence of numbers is brought before the recurrence; `kind = "none"` is for text.

    Sound becomes the logarithm of its power in `mel_bands` bands, in steps of `step_ms`. Each feature is scaled by its
    mean and deviation in train. Then come the convolutions, each of which also shortens the sequence by `stride`.
    """

    kind: SignalKind = "none"
    sample_rate_hz: int = Field(default=8000, ge=1000, description="of sound; other rates are resampled to it")
    window_ms: float = Field(default=25.0, gt=0, le=1000, description="of sound looked at for each step")
    step_ms: float = Field(default=10.0, gt=0, le=1000, description="from one step of sound to the next")
    mel_bands: int = Field(default=40, ge=1, le=256)
    lowest_hz: float = Field(
        default=60.0, ge=0, description="where the lowest band begins; the highest ends at half the rate"
    )
    normalise_each: bool = Field(
        default=False, description="take each feature's own mean and deviation off each input: who speaks into what"
    )
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="of each convolution; none is fine"
    )
    kernel_size: int = Field(default=5, ge=1)
    stride: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _bands_have_room(self) -> SignalConfig:
        if self.lowest_hz >= self.sample_rate_hz / 2:
            raise ValueError(f"lowest_hz must be below half the sample rate, {self.sample_rate_hz / 2:g}")
        if self.samples_per_window < 2:
            raise ValueError(f"window_ms is too short for {self.sample_rate_hz} Hz")
        return self

    @property
    def samples_per_window(self) -> int:
        return round(self.sample_rate_hz * self.window_ms / 1000)

    @property
    def samples_per_step(self) -> int:
        return max(1, round(self.sample_rate_hz * self.step_ms / 1000))


class AugmentConfig(_Table):
    """How each input is changed at random whenever it is learned from, so that the label does not hang on details."""

    speed: float = Field(default=0.0, ge=0, le=0.5, description="played faster or slower by up to this part")
    crop: float = Field(default=0.0, ge=0, le=0.9, description="cut at both ends, together up to this part")
    warp: float = Field(
        default=0.0, ge=0, le=0.5, description="bands of sound moved up or down by up to this part: a longer throat"
    )
    gain: float = Field(default=0.0, ge=0, le=0.9, description="each feature multiplied by 1 plus or minus up to this")
    offset: float = Field(
        default=0.0, ge=0, description="deviation of what is added to a feature at all steps alike: another microphone"
    )
    noise: float = Field(default=0.0, ge=0, description="deviation of what is added to features of deviation 1")
    rotation_degrees: float = Field(
        default=0.0, ge=0, le=180, description="features in threes (x, y, z) turned together by up to this angle"
    )
    time_masks: int = Field(default=0, ge=0, description="stretches of time that are blanked (SpecAugment)")
    time_mask_part: float = Field(default=0.2, gt=0, le=1, description="the longest of them, of the whole")
    feature_masks: int = Field(default=0, ge=0, description="bands of neighbouring features that are blanked")
    feature_mask_size: int = Field(default=8, ge=1, description="the widest of them")
