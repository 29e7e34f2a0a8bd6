"""Catalogue of tasks: the only place in training that lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from service.bundle.task_options import TrainedTask
from training.config.recipe import Recipe
from training.data.records import LabelledSignal, Record
from training.evaluation.task import TrainingTask
from training.tasks.captioning import CaptioningTask
from training.tasks.classification import ClassificationTask
from training.tasks.forecasting import ForecastingTask
from training.tasks.generation import GenerationTask
from training.tasks.parsing import ParsingTask
from training.tasks.signals import SignalTask
from training.tasks.tagging import TaggingTask
from training.tasks.transcription import TranscriptionTask
from training.tasks.translation import TranslationTask
from training.tasks.video import VideoTask

TASKS: Final[dict[TrainedTask, TrainingTask[Any]]] = {
    "tagging": TaggingTask(),
    "classification": ClassificationTask(),
    "translation": TranslationTask(),
    "generation": GenerationTask(),
    "forecasting": ForecastingTask(),
    "captioning": CaptioningTask(),
    "transcription": TranscriptionTask(),
    "parsing": ParsingTask(),
    "video": VideoTask(),
}
#: Named classification in recipes, like that of texts.
SIGNALS: Final = SignalTask()


def training_task(recipe: Recipe) -> TrainingTask[Any]:
    """The task of a recipe."""
    is_of_signals = recipe.task == "classification" and recipe.signal.kind != "none"
    return SIGNALS if is_of_signals else TASKS[recipe.task]


def task_for(name: TrainedTask, records: Sequence[Record]) -> TrainingTask[Any]:
    """The task of this name that these records are for."""
    return SIGNALS if records and isinstance(records[0], LabelledSignal) else TASKS[name]
