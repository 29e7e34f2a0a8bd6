"""Signal inputs and their augmentation: the tables `[signal]` and `[augment]` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SignalKind = Literal["none", "frames", "waveform"]


class _Table(BaseModel):
    """Immutable; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SignalConfig(_Table):
    """Front end for sequences of numbers; `kind = "none"` is for text.

    Sound becomes the logarithm of its power in `mel_bands` bands, in steps of `step_ms`. Each feature is scaled by its
    mean and deviation in train. Then come the convolutions, each of which also shortens the sequence by `stride`.
    """

    kind: SignalKind = "none"
    sample_rate_hz: int = Field(default=8000, ge=1000, le=768_000, description="of sound; other rates are resampled")
    window_ms: float = Field(default=25.0, gt=0, le=1000, description="length of the analysis window of sound")
    step_ms: float = Field(default=10.0, gt=0, le=1000, description="hop between windows of sound")
    mel_bands: int = Field(default=40, ge=1, le=256)
    lowest_hz: float = Field(
        default=60.0, ge=0, description="lower edge of the lowest mel band; the highest ends at half the sample rate"
    )
    normalise_each: bool = Field(
        default=False, description="normalise each input by its own mean and deviation: removes speaker and microphone"
    )
    running_mean: bool = Field(
        default=False, description="subtract from each feature its mean over the input so far, as a stream can"
    )
    channels: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(), description="output channels of each convolution; may be empty"
    )
    kernel_size: int = Field(default=5, ge=1, le=4096)
    stride: int = Field(default=2, ge=1, le=4096)

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

    @property
    def frames_per_step(self) -> int:
        """Frames of one step after all convolutions."""
        return int(self.stride ** len(self.channels))

    @property
    def values_per_step(self) -> int:
        """Samples of sound, or frames, of one step after all convolutions."""
        return self.frames_per_step * (self.samples_per_step if self.kind == "waveform" else 1)


class AugmentConfig(_Table):
    """Random augmentation of each input during training."""

    speed: float = Field(default=0.0, ge=0, le=0.5, description="largest change of speed, either way")
    crop: float = Field(default=0.0, ge=0, le=0.9, description="largest share cut off, both ends together")
    warp: float = Field(
        default=0.0, ge=0, le=0.5, description="largest warp of mel bands up or down (vocal tract length perturbation)"
    )
    gain: float = Field(default=0.0, ge=0, le=0.9, description="largest scaling of each feature, either way")
    offset: float = Field(
        default=0.0, ge=0, description="deviation of a constant added to each feature: another microphone"
    )
    noise: float = Field(default=0.0, ge=0, description="deviation of Gaussian noise; features have deviation 1")
    rotation_degrees: float = Field(
        default=0.0, ge=0, le=180, description="largest rotation of triples of features (x, y, z)"
    )
    time_masks: int = Field(default=0, ge=0, le=1000, description="number of time masks (SpecAugment)")
    time_mask_part: float = Field(default=0.2, gt=0, le=1, description="largest share of time that one mask covers")
    feature_masks: int = Field(default=0, ge=0, le=1000, description="number of masks over neighbouring features")
    feature_mask_size: int = Field(default=8, ge=1, le=65_536, description="largest width of a feature mask")
    reverberation: float = Field(
        default=0.0, ge=0, le=1, description="share of sounds put into a made room with echoes"
    )
    longest_reverberation_s: float = Field(
        default=0.4, ge=0.1, le=3, description="seconds in which the echoes of the largest room fall by 60 dB"
    )
    sound_noise: float = Field(
        default=0.0, ge=0, le=1, description="share of sounds with noise added: white, pink, brown or babble"
    )
    babble: float = Field(
        default=0.25, ge=0, le=1, description="share of that noise which is other sounds of the batch, all at once"
    )
    lowest_snr_db: float = Field(default=5.0, ge=-20, le=80, description="loudest noise: dB below the sound")
    highest_snr_db: float = Field(default=40.0, ge=-20, le=80, description="faintest noise: dB below the sound")
    telephone: float = Field(default=0.0, ge=0, le=1, description="share of sounds cut to the band of a telephone")
    volume_db: float = Field(default=0.0, ge=0, le=60, description="largest change of the level of sound, either way")
    clipping: float = Field(default=0.0, ge=0, le=1, description="share of sounds clipped at 20 to 80 % of their peak")

    @model_validator(mode="after")
    def _noise_has_a_range(self) -> AugmentConfig:
        if self.lowest_snr_db > self.highest_snr_db:
            raise ValueError("lowest_snr_db must be no more than highest_snr_db")
        return self

    @property
    def distorts_sound(self) -> bool:
        """Whether raw samples are changed, but for their speed and length."""
        return any((self.reverberation, self.sound_noise, self.telephone, self.volume_db, self.clipping))
