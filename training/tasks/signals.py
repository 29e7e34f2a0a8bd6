"""Signal classification, of frames or sound: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from service.bundle.load import Bundle
from service.bundle.padding import pad_floats
from service.bundle.task_options import ClassificationOptions, FramesSpec, TaskOptions, WaveformSpec
from service.tasks.core.task import Runner
from training.config.networks import ClassifierConfig
from training.config.recipe import Recipe
from training.config.signals import SignalConfig, SignalKind
from training.data.records import LabelledSignal
from training.evaluation.task import Question, TrainingTask, options_as
from training.evaluation.tasks.signals import SignalEvaluation
from training.evaluation.torch_runner import one_thread
from training.networks.inputs.front_end import FrontEnd
from training.networks.network import Network
from training.networks.signal_classifier import SignalClassifier
from training.preprocessing.batches import SignalBatch
from training.preprocessing.batching import Bucketed, Order, lengths_tensor
from training.preprocessing.scales.signal_scale import SignalScale, band_names, fit_signal_scale
from training.preprocessing.signal_values import json_form
from training.preprocessing.vocabulary import Vocabulary
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, sample_lines

_DEFAULTS: dict[SignalKind, dict[str, Any]] = {
    "frames": {
        "signal": {"kind": "frames", "channels": [64]},
        "augment": {"noise": 0.1, "gain": 0.1},
        "network": {"cell": "gru", "hidden_size": 64, "pooling": "attention", "dropout": 0.3},
        "training": {"epochs": 20, "patience": 6, "batch_size": 32, "learning_rate": 1e-3, "ema_decay": 0.99},
        "limits": {"max_input_tokens": 2048},
    },
    "waveform": {
        "signal": {"kind": "waveform", "channels": [64], "normalise_each": True},
        "augment": {"speed": 0.15, "crop": 0.1, "noise": 0.2, "time_masks": 1, "feature_masks": 2},
        "network": {"cell": "gru", "hidden_size": 96, "layers": 2, "pooling": "attention", "dropout": 0.3},
        "training": {"epochs": 20, "patience": 6, "batch_size": 32, "ema_decay": 0.99},
        "limits": {"max_input_tokens": 1000},
    },
}


class SignalTask(SignalEvaluation, TrainingTask[LabelledSignal]):
    """A sequence of numbers in, one label out."""

    fine_tunes = True

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[LabelledSignal], vectors: WordVectors | None = None
    ) -> Vocabulary:
        """The scale is computed in one thread, so that it does not depend on the machine."""
        with one_thread():
            return signal_vocabulary(recipe.signal, records)

    def blank_scale(self, recipe: Recipe, options: TaskOptions) -> SignalScale:
        spec = options_as(options, ClassificationOptions).signal
        features = spec.features if isinstance(spec, FramesSpec) else band_names(recipe.signal)
        return SignalScale(features, (0.0,) * len(features), (1.0,) * len(features))

    def restored_scale(self, network: Network, blank: SignalScale) -> SignalScale:
        assert isinstance(network, SignalClassifier)
        scaled = network.front_end
        return blank._replace(mean=tuple(scaled.mean.tolist()), deviation=tuple(scaled.deviation.tolist()))

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[LabelledSignal], *, is_dev: bool = False
    ) -> SignalSet:
        per_step = recipe.signal.samples_per_step if recipe.signal.kind == "waveform" else 1
        most = recipe.limits.max_input_tokens * per_step
        return SignalSet(records, vocabulary.labels, most, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        config = recipe.network_as(ClassifierConfig)
        front_end = FrontEnd(recipe.signal, recipe.augment, vocabulary.require_signal_scale(), config.dropout)
        return SignalClassifier(config, front_end, len(vocabulary.labels))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> ClassificationOptions:
        signal = signal_spec(recipe.signal, vocabulary.require_signal_scale())
        outside = recipe.network_as(ClassifierConfig).outside_label
        return ClassificationOptions(signal=signal, outside_label=outside)

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[LabelledSignal]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.value, _line)

    def questions(self, recipe: Recipe, records: Sequence[LabelledSignal]) -> list[Question]:
        return example_questions(recipe, records, json_form)

    def defaults(self, records: Sequence[LabelledSignal]) -> dict[str, Any]:
        """Those of frames, or those of sound at the sample rate of most records; the others are resampled."""
        kind = records[0].kind
        found = _DEFAULTS[kind]
        if kind == "frames":
            return found
        rates = Counter(record.sample_rate_hz for record in records)
        usual = min(rates, key=lambda rate_hz: (-rates[rate_hz], rate_hz))
        return found | {"signal": {**found["signal"], "sample_rate_hz": usual}}


class SignalSet(Bucketed):
    """Signals with a label, without those whose label is not in train; long ones are cut."""

    def __init__(
        self, signals: Sequence[LabelledSignal], labels: Sequence[str], limit: int, batch_size: int, seed: int
    ) -> None:
        number = {label: index for index, label in enumerate(labels)}
        self._examples = [(s.values[:limit], number[s.label]) for s in signals if s.label in number]
        super().__init__([len(values) for values, _ in self._examples], batch_size, seed)

    def batch(self, indices: Order) -> SignalBatch:
        values, labels = zip(*(self._examples[i] for i in indices), strict=True)
        padded = torch.from_numpy(pad_floats(values))
        return SignalBatch(values=padded, lengths=lengths_tensor(values), labels=torch.tensor(labels))


def signal_vocabulary(config: SignalConfig, signals: Sequence[LabelledSignal]) -> Vocabulary:
    """Labels, and the scale of each feature."""
    labels = tuple(sorted({signal.label for signal in signals}))
    return Vocabulary({}, labels, signal_scale=fit_signal_scale(config, signals))


def signal_spec(config: SignalConfig, scale: SignalScale) -> FramesSpec | WaveformSpec:
    """The inputs of the classifier, as the manifest describes them."""
    if config.kind == "frames":
        return FramesSpec(features=scale.features)
    return WaveformSpec(sample_rate_hz=config.sample_rate_hz, samples_per_step=config.samples_per_step)


def _line(record: LabelledSignal, found: Mapping[str, Any]) -> str:
    return f"{len(record.values)} of {record.kind} -> {beside(found['label'], record.label)}"
