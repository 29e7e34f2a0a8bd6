"""The list of tasks. A line in `TASKS` registers a task; its class declares how it is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from service.bundle.load import Bundle
from service.bundle.task_options import TaskName
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import Answer, Route, Runner, Task
from service.tasks.generation.generation import Generation
from service.tasks.inputs.json_input import plain_value
from service.tasks.parsing.parsing import Parsing
from service.tasks.seq2seq.captioning import Captioning
from service.tasks.seq2seq.translation import Translation
from service.tasks.seq2seq.video import Video
from service.tasks.single_pass.classification import Classification
from service.tasks.single_pass.forecasting import Forecasting
from service.tasks.single_pass.tagging import Tagging
from service.tasks.tensors.tensors import TensorsTask
from service.tasks.transcription.transcription import Transcription

AnyTask = PredictTask[Any, Any] | Generation

#: The class of each task, in the order in which the API lists them.
TASKS: dict[TaskName, type[AnyTask]] = {
    "tagging": Tagging,
    "classification": Classification,
    "translation": Translation,
    "generation": Generation,
    "forecasting": Forecasting,
    "captioning": Captioning,
    "transcription": Transcription,
    "parsing": Parsing,
    "video": Video,
    "tensors": TensorsTask,
}


def tasks_of_route(route: Route) -> dict[TaskName, type[AnyTask]]:
    """The tasks that a route serves."""
    return {name: task for name, task in TASKS.items() if task.route == route}


def route_of(name: TaskName) -> Route:
    """The route that serves a task."""
    return TASKS[name].route


def task_of(bundle: Bundle) -> AnyTask:
    """The task that runs this bundle's graphs."""
    return TASKS[bundle.manifest.task](bundle)


def predicts(task: Task) -> TypeGuard[PredictTask[Any, Any]]:
    """Whether it is a task of `POST /predict`."""
    return task.route == "predict"


def generates(task: Task) -> TypeGuard[Generation]:
    """Whether it is the task of `POST /generate`."""
    return task.route == "generate"


def answer(task: Task, runner: Runner, inputs: Any, parameters: Mapping[str, Any]) -> Answer:
    """The whole answer to one input in its JSON form, with any runner: what `examples.jsonl` records.

    Raises:
        InvalidInput: the input or a parameter is refused.
        InferenceFailed: a graph failed, or gave numbers that are not finite.
    """
    return task.answer(runner, plain_value(inputs), parameters)
