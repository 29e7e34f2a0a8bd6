"""Tiny models without text input: audio, sensor readings, a series, an image, a clip."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_signals import CONFIGS, write_tiny_signal_bundle
from tests.training.tiny_captioner import captioner, publish_captioner
from tests.training.tiny_series import forecaster, publish_forecaster
from tests.training.tiny_video import publish_video, video_captioner

SOUND, MOTION, FORECASTER = "tiny-sound", "tiny-motion", "tiny-forecaster"
CAPTIONER, VIDEO = "tiny-captioner", "tiny-video"


def write_signal_models(folder: Path) -> Path:
    """Write one bundle per input kind and return the folder."""
    write_tiny_signal_bundle(folder, CONFIGS["waveform"], SOUND)
    write_tiny_signal_bundle(folder, CONFIGS["frames"], MOTION)
    publish_forecaster(forecaster(mixing="joint", quantiles=(0.1, 0.5, 0.9)), folder)
    publish_captioner(captioner(), folder)
    publish_video(video_captioner(), folder)
    return folder
