"""The tasks by name. Whole-answer tasks fulfil `PredictTask`; generation, which streams, has its own calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.bundle.load import Bundle
from service.bundle.manifest import TaskName
from service.tasks.base import PredictTask
from service.tasks.classification import Classification
from service.tasks.generation import Generation
from service.tasks.tagging import Tagging
from service.tasks.translation import Translation

#: What `POST /predict` can answer: call with a bundle of that task.
PREDICT_TASKS: dict[TaskName, Callable[[Bundle], PredictTask[Any, Any]]] = {
    "tagging": Tagging,
    "classification": Classification,
    "translation": Translation,
}

__all__ = ["PREDICT_TASKS", "Generation"]
