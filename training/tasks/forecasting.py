"""Forecasting: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from service.bundle.load import Bundle
from service.bundle.task_options import ForecastingOptions
from service.tasks.core.task import Runner
from training.config.forecast_windows import window_of
from training.config.networks import ForecasterConfig
from training.config.recipe import Recipe
from training.data.readers.series import step_of_series
from training.data.records import Series
from training.evaluation.forecast_samples import forecast_samples
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.forecasting import ForecastingEvaluation, options_of
from training.networks.forecaster import Forecaster
from training.networks.network import Network
from training.preprocessing.batches import ForecastingBatch
from training.preprocessing.batching import Bucketed, Order
from training.preprocessing.scales.series_scale import SeriesScale, fit_scale
from training.preprocessing.vocabulary import Vocabulary
from training.preprocessing.windows import Windows, example_frames, one_series
from training.preprocessing.word_vectors import WordVectors

#: Windows recorded as the bundle's examples.
NUM_EXAMPLES: Final = 4


class ForecastingTask(ForecastingEvaluation, TrainingTask[Series]):
    """A window of the past in, the rows after it out."""

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[Series], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return Vocabulary({}, scale=fit_scale(one_series(records)))

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Series], *, is_dev: bool = False
    ) -> ForecastingSet:
        config = recipe.network_as(ForecasterConfig)
        return ForecastingSet(one_series(records), config, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        return Forecaster(recipe.network_as(ForecasterConfig), _scale(vocabulary))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> ForecastingOptions:
        return forecasting_options(recipe.network_as(ForecasterConfig), _scale(vocabulary))

    def samples(self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[Series]) -> tuple[str, ...]:
        return forecast_samples(bundle, options_of(bundle.manifest), runner, one_series(records))

    def questions(self, recipe: Recipe, records: Sequence[Series]) -> list[Question]:
        frames = example_frames(one_series(records), recipe.network_as(ForecasterConfig), NUM_EXAMPLES)
        return [Question(window) for window in frames]

    def defaults(self, records: Sequence[Series]) -> dict[str, Any]:
        series = one_series(records)
        window = window_of(step_of_series(series), len(series.values))
        return {
            "network": {"hidden_size": 128, **window._asdict()},
            "training": {"epochs": 20, "patience": 4, "batch_size": 64, "learning_rate": 1e-3, "threads": 1},
            "limits": {"max_input_tokens": 4096},
        }

    def num_batches(self, records: Sequence[Series], batch_size: int) -> int:
        """About one window starts at each row."""
        return -(-sum(len(series.values) for series in records) // batch_size)


class ForecastingSet(Bucketed):
    """Every window of a series."""

    def __init__(self, series: Series, config: ForecasterConfig, batch_size: int, seed: int) -> None:
        self._windows = Windows(series, config.look_back, config.horizon)
        super().__init__([config.look_back] * len(self._windows), batch_size, seed)

    def batch(self, indices: Order) -> ForecastingBatch:
        past, future = self._windows.past(indices), self._windows.future(indices)
        return ForecastingBatch(frames=torch.from_numpy(past), future=torch.from_numpy(future))


def forecasting_options(config: ForecasterConfig, scale: SeriesScale) -> ForecastingOptions:
    """What a window holds and what is forecast from it."""
    return ForecastingOptions(
        channels=scale.channels,
        targets=scale.targets,
        deviations=scale.target_deviations,
        look_back=config.look_back,
        horizon=config.horizon,
        period=config.period,
        step=scale.step,
        quantiles=config.quantiles,
    )


def _scale(vocabulary: Vocabulary) -> SeriesScale:
    if vocabulary.scale is None:
        raise TypeError("this vocabulary has no scale of a series")
    return vocabulary.scale
