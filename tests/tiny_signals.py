"""Tiny classifiers of numbers: networks with random weights, matching records, and their bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from service.bundle.manifest import Limits
from service.bundle.task_options import ClassificationOptions
from tests.training.exportable import lively
from training.config.networks import ClassifierConfig
from training.config.signals import AugmentConfig, SignalConfig, SignalKind
from training.data.records import LabelledSignal
from training.evaluation.task import Question
from training.networks.inputs.front_end import FrontEnd
from training.networks.signal_classifier import SignalClassifier
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.scales.signal_scale import SignalScale, fit_signal_scale
from training.preprocessing.signal_values import json_form
from training.publish.export import export_bundle
from training.tasks.signals import signal_spec

LABELS = ("up", "down", "still")
FEATURES = ("x", "y", "z")
RATE_HZ = 8000
MAX_STEPS = 60

CONFIGS: dict[SignalKind, SignalConfig] = {
    "frames": SignalConfig(kind="frames", channels=(5,), kernel_size=4, normalise_each=True),
    "waveform": SignalConfig(kind="waveform", mel_bands=6, channels=(5,), kernel_size=3, normalise_each=True),
}
#: No layer that looks at neighbouring frames, so that a signal can be read in chunks.
STEPWISE = SignalConfig(kind="frames")


def sounds(num: int = 6, seed: int = 0) -> list[LabelledSignal]:
    """Noise of various lengths, quantized to 16 bits."""
    rng = np.random.default_rng(seed)
    raw = [rng.integers(-9000, 9000, 300 + 217 * number) for number in range(num)]
    return [
        LabelledSignal((samples / 2.0**15).astype(np.float32), LABELS[number % 3], (), RATE_HZ, f"speaker {number % 2}")
        for number, samples in enumerate(raw)
    ]


def motions(num: int = 6, seed: int = 0) -> list[LabelledSignal]:
    """Random walks of various lengths, far from zero."""
    rng = np.random.default_rng(seed)
    walks = [20 + rng.normal(size=(3 + 2 * number, len(FEATURES))).cumsum(axis=0) for number in range(num)]
    rounded = [np.round(walk, 3).astype(np.float32) for walk in walks]
    return [
        LabelledSignal(values, LABELS[n % 3], FEATURES, group=f"person {n % 2}") for n, values in enumerate(rounded)
    ]


def records_of(kind: SignalKind) -> list[LabelledSignal]:
    return sounds() if kind == "waveform" else motions()


def signal_network(config: SignalConfig, *, reads_chunks: bool = False, cell: str = "gru") -> SignalClassifier:
    """A deterministic network for `config`; with `reads_chunks` it is forward-only and uses its last state."""
    torch.manual_seed(5)
    classifier = ClassifierConfig.model_validate(
        {"cell": cell, "hidden_size": 7, "layers": 2, "bidirectional": not reads_chunks}
        | {"pooling": "last" if reads_chunks else "attention"}
    )
    front_end = FrontEnd(config, AugmentConfig(), scale_of(config), dropout=0.3)
    return lively(SignalClassifier(classifier, front_end, len(LABELS)))


def scale_of(config: SignalConfig) -> SignalScale:
    return fit_signal_scale(config, records_of(config.kind))


def signal_draft(config: SignalConfig, name: str) -> BundleDraft:
    options = ClassificationOptions(signal=signal_spec(config, scale_of(config)))
    return BundleDraft(
        name=name, options=options, tokenizers={}, labels=LABELS, limits=Limits(max_input_tokens=MAX_STEPS)
    )


def write_tiny_signal_bundle(models_root: Path, config: SignalConfig, name: str, *, reads_chunks: bool = False) -> Path:
    """Export a network with random weights, verified, with three recorded answers."""
    models_root.mkdir(parents=True, exist_ok=True)
    questions = [Question(json_form(record), {"top_k": 2}) for record in records_of(config.kind)[:3]]
    network = signal_network(config, reads_chunks=reads_chunks)
    return export_bundle(network, signal_draft(config, name), questions, models_root).path
