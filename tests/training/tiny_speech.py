"""Small networks of speech recognition with random weights, a recipe, and utterances of noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.training.exportable import lively
from training.config.networks import TranscriberConfig
from training.config.recipe import Recipe, parse_recipe
from training.config.signals import AugmentConfig, SignalConfig
from training.data.records import Utterance
from training.networks.inputs.streaming_front_end import StreamingFrontEnd
from training.networks.transcriber import Transcriber
from training.networks.transducer import Transducer
from training.preprocessing.scales.signal_scale import SignalScale

SOUND = SignalConfig(kind="waveform", mel_bands=12, channels=(6, 5), running_mean=True)
FRAMES = SignalConfig(kind="frames", channels=(6,), kernel_size=4, stride=3, normalise_each=True)
NUM_FEATURES, VOCABULARY = 4, 9
TEXTS = ("one two", "two", "three one three", "")


def front_end(signal: SignalConfig, dropout: float = 0.0) -> StreamingFrontEnd:
    count = signal.mel_bands if signal.kind == "waveform" else NUM_FEATURES
    scale = SignalScale(tuple(f"feature {number}" for number in range(count)), (-3.0,) * count, (2.0,) * count)
    return StreamingFrontEnd(signal, AugmentConfig(), scale, dropout)


def transcriber(signal: SignalConfig, **changes: Any) -> Transcriber:
    """A network of CTC; forward only unless the changes say otherwise."""
    config = TranscriberConfig.model_validate({"hidden_size": 7, "layers": 2, **changes})
    return lively(Transcriber(config, front_end(signal), VOCABULARY))


def transducer(signal: SignalConfig, **changes: Any) -> Transducer:
    """A transducer; forward only unless the changes say otherwise."""
    values = {"hidden_size": 7, "layers": 2, "predictor_size": 5, "joint_size": 6, "predictor_dropout": 0.0}
    config = TranscriberConfig.model_validate({**values, "decoder": "transducer", **changes})
    return lively(Transducer(config, front_end(signal), VOCABULARY))


def utterances(signal: SignalConfig, count: int = 8) -> list[Utterance]:
    """Noise of different lengths, with a short text each."""
    chance = np.random.default_rng(5)
    rate_hz = signal.sample_rate_hz if signal.kind == "waveform" else 0
    made = []
    for number in range(count):
        shape = (2000 + 1700 * number,) if rate_hz else (70 + 40 * number, NUM_FEATURES)
        values = (0.1 * chance.standard_normal(shape)).astype(np.float32)
        names = () if rate_hz else tuple(f"feature {index}" for index in range(NUM_FEATURES))
        made.append(Utterance(values, TEXTS[number % len(TEXTS)], names, rate_hz, f"speaker {number % 3}"))
    return made


def speech_recipe(signal: SignalConfig, **network: Any) -> Recipe:
    """A recipe of words over sound, or of characters over frames."""
    values = {
        "name": "tiny-speech",
        "task": "transcription",
        "data": {"train": "train.tsv"},
        "tokenizer": {"unit": "word" if signal.kind == "waveform" else "character"},
        "signal": signal.model_dump(),
        "network": {"hidden_size": 7, "layers": 1, **network},
        "training": {"batch_size": 4},
    }
    return parse_recipe(values, "tiny")
