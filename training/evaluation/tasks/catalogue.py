"""Catalogue of the torch-free halves of the tasks: the only place in `training.evaluation` that lists them."""

from __future__ import annotations

from typing import Any, Final

from service.bundle.manifest import Manifest
from service.bundle.task_options import ClassificationOptions, TaskName
from training.evaluation.task import EvaluationTask
from training.evaluation.tasks.captioning import CaptioningEvaluation
from training.evaluation.tasks.classification import ClassificationEvaluation
from training.evaluation.tasks.forecasting import ForecastingEvaluation
from training.evaluation.tasks.generation import GenerationEvaluation
from training.evaluation.tasks.parsing import ParsingEvaluation
from training.evaluation.tasks.signals import SignalEvaluation
from training.evaluation.tasks.tagging import TaggingEvaluation
from training.evaluation.tasks.transcription import TranscriptionEvaluation
from training.evaluation.tasks.translation import TranslationEvaluation
from training.evaluation.tasks.video import VideoEvaluation

EVALUATION_TASKS: Final[dict[TaskName, EvaluationTask[Any]]] = {
    "tagging": TaggingEvaluation(),
    "classification": ClassificationEvaluation(),
    "translation": TranslationEvaluation(),
    "generation": GenerationEvaluation(),
    "forecasting": ForecastingEvaluation(),
    "captioning": CaptioningEvaluation(),
    "transcription": TranscriptionEvaluation(),
    "parsing": ParsingEvaluation(),
    "video": VideoEvaluation(),
}
#: Named classification in manifests, like that of texts.
SIGNAL_EVALUATION: Final = SignalEvaluation()


def evaluation_task(manifest: Manifest) -> EvaluationTask[Any]:
    """The task of a bundle."""
    options = manifest.options
    reads_signals = isinstance(options, ClassificationOptions) and options.signal is not None
    return SIGNAL_EVALUATION if reads_signals else EVALUATION_TASKS[manifest.task]
