"""Catalogue of the torch-free halves of the tasks: the only place in `training.evaluation` that lists them."""

from __future__ import annotations

from typing import Any, Final

from service.bundle.manifest import Manifest
from service.bundle.task_options import ClassificationOptions, TensorsOptions, TrainedTask
from service.errors import UnrollError
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

EVALUATION_TASKS: Final[dict[TrainedTask, EvaluationTask[Any]]] = {
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
    """The task of a bundle. Raises UnrollError for one of arrays, whose meaning, and so its measure, nobody named."""
    options = manifest.options
    if isinstance(options, TensorsOptions):
        name = f"{manifest.name} version {manifest.version}"
        raise UnrollError(f"{name} reads and gives arrays without a meaning that Unroll knows: there is no measure")
    reads_signals = isinstance(options, ClassificationOptions) and options.signal is not None
    return SIGNAL_EVALUATION if reads_signals else EVALUATION_TASKS[options.task]
