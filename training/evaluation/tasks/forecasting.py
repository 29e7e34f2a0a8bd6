"""Forecasting: the last rows of a series in, the next rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest
from service.bundle.task_options import ForecastingOptions, TaskOptions
from service.tasks.core.task import Array
from training.config.forecast_windows import explain
from training.config.recipe import Recipe
from training.data.formats.options import ReadOptions
from training.data.readers.series import step_of_series
from training.data.records import Series
from training.data.split import Parts, split_series
from training.evaluation.answers import Job, Scores
from training.evaluation.baselines.forecasting import forecasting_baselines
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.forecast_scores import forecast_scores
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import listed
from training.preprocessing.load_records import RunData, with_past
from training.preprocessing.windows import one_series


def options_of(manifest: Manifest) -> ForecastingOptions:
    """What a window holds and what is forecast from it."""
    return options_as(manifest.options, ForecastingOptions)


def _purpose(manifest: Manifest) -> str:
    options = options_of(manifest)
    return (
        f"Forecasts {', '.join(options.targets)} for the next {options.horizon} steps, from the last "
        f"{options.look_back} steps of {', '.join(options.channels)}."
    )


def _limits(manifest: Manifest) -> list[str]:
    options = options_of(manifest)
    return [
        f"- It needs {options.look_back} frames, one for each step of time; fewer are refused. Of more, up to "
        f"{manifest.limits.max_input_tokens}, it looks at the last ones.",
        f"- A frame holds, in this order: {listed(options.channels)}. A gap is filled by the caller.",
        f"- It forecasts {options.horizon} steps at once, no more.",
    ]


class ForecastingEvaluation(EvaluationTask[Series]):
    """Scores the errors of every window, in standard deviations of train."""

    name = "forecasting"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Series that go on as they did in the data, one step of time after the other without gaps: fill a gap with "
            "the last value before it. What never happened in the data is not foreseen; what is far ahead, less well."
        ),
        limits=_limits,
        reads_one_language=False,
    )
    reported = ("mse", "mae", "mae_in_units", "pinball")
    deciding = ("mse",)
    int8_graphs = ("forecaster",)
    has_errors = False
    dev_continues_train = True

    def split(self, records: Sequence[Series], dev_fraction: float) -> Parts:
        """The last rows are dev."""
        return split_series(one_series(records), dev_fraction)

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Dev with train as its past, where it continues it. The remark says what is forecast from what."""
        sentence = explain(step_of_series(one_series(data.train)), recipe.network)
        return with_past(replace(data, remark=f"{data.remark} {sentence}".strip()))

    def read_options(self, bundle: Bundle, options: ReadOptions) -> ReadOptions:
        """The columns of the bundle."""
        known = options_of(bundle.manifest)
        return options.model_copy(update={"channel_columns": known.channels, "target_column": ",".join(known.targets)})

    def score(self, job: Job, records: Sequence[Series]) -> Scores:
        options = options_of(job.bundle.manifest)
        return forecast_scores(job.bundle, options, job.runner, one_series(records), job.batch_size, job.advance)

    def baselines(
        self,
        train: Sequence[Series],
        dev: Sequence[Series],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The last value, that of one period before, and a linear map of the past. `options` are required."""
        known = options_as(options, ForecastingOptions)
        return forecasting_baselines(one_series(train), one_series(dev), known)

    def typical_values(self, bundle: Bundle) -> dict[str, Array]:
        """The window of an example: a hundred deviations away from its series, all is rounding."""
        frames = np.asarray(bundle.examples[0].inputs["frames"], dtype=np.float32)
        return {"frames": frames[-options_of(bundle.manifest).look_back :]}
