"""A recogniser of the size that is shipped, with random weights: its texts are noise, but they cost as much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from service.bundle.manifest import Limits
from service.bundle.task_options import TranscriptionOptions, WaveformSpec
from training.config.networks import TranscriberConfig
from training.config.signals import AugmentConfig, SignalConfig
from training.data.records import Utterance
from training.evaluation.task import Question
from training.networks.inputs.streaming_front_end import StreamingFrontEnd
from training.networks.transcriber import Transcriber
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.scales.signal_scale import SignalScale
from training.preprocessing.signal_values import json_form
from training.preprocessing.vocabulary import fit_characters
from training.publish.export import export_bundle

NAME = "random-speech"
RATE_HZ = 8_000
#: Windows every 10 ms, of which two convolutions make steps of 40 ms.
_SIGNAL = SignalConfig(kind="waveform", sample_rate_hz=RATE_HZ, channels=(64, 128), running_mean=True)
_PER_STEP = 320
_CONFIG = TranscriberConfig(hidden_size=256, layers=3, dropout=0.0)


def write_random_bundle(models: Path, config: TranscriberConfig = _CONFIG, name: str = NAME) -> Path:
    """Publish the bundle, with a random network of these sizes."""
    torch.manual_seed(7)
    models.mkdir(parents=True, exist_ok=True)
    count = _SIGNAL.mel_bands
    scale = SignalScale(tuple(f"band {number}" for number in range(count)), (-6.0,) * count, (2.0,) * count)
    tokenizer = fit_characters(["abcdefghijklmnopqrstuvwxyz' "])
    network = Transcriber(config, StreamingFrontEnd(_SIGNAL, AugmentConfig(), scale, 0.0), tokenizer.vocabulary_size)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)  # texts that depend on the sound
    options = TranscriptionOptions(
        signal=WaveformSpec(sample_rate_hz=RATE_HZ, samples_per_step=_PER_STEP), step_ms=40.0, flush_steps=8
    )
    draft = BundleDraft(name, options, {"text": tokenizer}, limits=Limits(max_input_tokens=15_000))
    noise = np.random.default_rng(3).standard_normal(RATE_HZ).astype(np.float32) * 0.1
    question = Question(json_form(Utterance(noise, "", sample_rate_hz=RATE_HZ)))
    return export_bundle(network.eval(), draft, [question], models).path
