"""Classification of signals: one label for a sequence of frames or a sound. Its name in manifests is classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest
from service.bundle.task_options import ClassificationOptions, FramesSpec, TaskOptions, WaveformSpec
from training.config.recipe import Recipe
from training.data.formats.options import ReadOptions
from training.data.records import LabelledSignal
from training.evaluation.analysis.findings import Findings, label_findings
from training.evaluation.analysis.interval import Interval
from training.evaluation.answers import Job, Scores
from training.evaluation.baselines.classification import majority_label
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.baselines.signals import linear_on_summaries
from training.evaluation.predictions import Prediction
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import MAX_LISTED
from training.evaluation.tasks.classification import ClassificationEvaluation, label_interval, label_scores
from training.preprocessing.load_records import RunData
from training.preprocessing.signal_values import at_rate, shortened_signals


def signal_of(manifest: Manifest) -> FramesSpec | WaveformSpec:
    """The inputs of the model."""
    signal = options_as(manifest.options, ClassificationOptions).signal
    if signal is None:
        raise TypeError(f"{manifest.name} classifies texts, not signals")
    return signal


def _purpose(manifest: Manifest) -> str:
    what = "a recording" if isinstance(signal_of(manifest), WaveformSpec) else "a sequence of frames"
    return f"Gives {what} one of {len(manifest.labels)} labels."


def _commands(manifest: Manifest, service: str) -> list[str]:
    """The command for a file, and the request that it makes."""
    name, is_sound = manifest.name, isinstance(signal_of(manifest), WaveformSpec)
    command = f"unroll predict --model {name} {'sound.wav' if is_sound else 'frames.csv'}"
    if not is_sound:
        return [command, f"curl -s {service}/predict -H 'Content-Type: application/json' -d @request.json"]
    body = f'{{"model": "{name}", "inputs": {{"wav": "%s"}}}}'
    return [
        command,
        f"printf '{body}' \"$(base64 -w0 sound.wav)\" \\",
        f"  | curl -s {service}/predict -H 'Content-Type: application/json' -d @-",
    ]


def _limits(manifest: Manifest) -> list[str]:
    signal, most = signal_of(manifest), manifest.limits.max_input_tokens
    if isinstance(signal, WaveformSpec):
        most_s = most * signal.samples_per_step / signal.sample_rate_hz
        return [
            f"- It hears {signal.sample_rate_hz:,} samples a second; a wave file of another rate is resampled. "
            f"A sound of more than {most_s:g} s is refused, not cut."
        ]
    shown = ", ".join(f"`{name}`" for name in signal.features[:MAX_LISTED])
    return [f"- At most {most} frames; more are refused. A frame holds {len(signal.features)} numbers: {shown}."]


class SignalEvaluation(EvaluationTask[LabelledSignal]):
    """Scores labels like classification of texts; records and baselines are those of numbers."""

    name = "classification"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Recordings like those it was trained on: the same devices, in the same place, used by people alike. It "
            "always answers with one of its labels, also for what none of them fits: look at the score before acting "
            "on the answer."
        ),
        limits=_limits,
        commands=_commands,
    )
    reported = ClassificationEvaluation.reported
    dev_measures = ClassificationEvaluation.dev_measures
    deciding = ClassificationEvaluation.deciding
    int8_graphs = ClassificationEvaluation.int8_graphs

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Sounds at the sample rate of the recipe."""
        if recipe.signal.kind != "waveform":
            return data
        rate_hz = recipe.signal.sample_rate_hz
        return replace(data, train=at_rate(data.train, rate_hz), dev=at_rate(data.dev, rate_hz))

    def read_options(self, bundle: Bundle, options: ReadOptions) -> ReadOptions:
        """A table of frames is cut into windows as in training, unless the caller says how."""
        if not isinstance(signal_of(bundle.manifest), FramesSpec):
            return options
        return options.model_copy(update=_windows_of_training(bundle, options))

    def score(self, job: Job, records: Sequence[LabelledSignal]) -> Scores:
        """Signals longer than the input limit are cut at the end."""
        manifest = job.bundle.manifest
        values, num_cut = shortened_signals(signal_of(manifest), manifest.limits.max_input_tokens, records)
        return label_scores(job, records, values, num_cut)

    def baselines(
        self,
        train: Sequence[LabelledSignal],
        dev: Sequence[LabelledSignal],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent label, and a linear classifier of means and deviations."""
        return [majority_label(train, dev), linear_on_summaries(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[LabelledSignal]]) -> Interval | None:
        return label_interval(measure, predictions)

    def analyse(self, predictions: Sequence[Prediction[LabelledSignal]]) -> Findings | None:
        rows = enumerate(predictions, start=1)
        return label_findings([(f"record {number}", p.record.label, p.label) for number, p in rows])


def _windows_of_training(bundle: Bundle, options: ReadOptions) -> dict[str, Any]:
    data = bundle.manifest.training.config.get("data")
    read = data.get("read", {}) if isinstance(data, dict) else {}
    keys = () if options.window_rows else ("window_rows", "stride_rows", "channel_columns")
    return {key: read[key] for key in keys if read.get(key)}
