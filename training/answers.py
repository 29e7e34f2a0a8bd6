"""Answer a caller's input from a bundle with any runner, by the code that the service answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.bundle.load import Bundle
from service.tasks.base import PredictTask, Runner
from service.tasks.catalogue import PREDICT_TASKS, Generation

AnyTask = PredictTask[Any, Any] | Generation


def task_of(bundle: Bundle) -> AnyTask:
    """The task that knows what to do with this bundle's graphs."""
    name = bundle.manifest.task
    return Generation(bundle) if name == "generation" else PREDICT_TASKS[name](bundle)


def answer(task: AnyTask, runner: Runner, inputs: Any, parameters: Mapping[str, Any]) -> Any:
    """The answer to one input as a JSON value, as it stands in `examples.jsonl`.

    Raises:
        InvalidInput, pydantic.ValidationError: the input or a parameter is one that the service refuses.
        InferenceFailed: a graph failed, or gave numbers that are not finite.
    """
    checked: Any = task.parameters_type.model_validate(parameters)
    if isinstance(task, Generation):
        return task.generate(runner, inputs, checked).model_dump(mode="json")
    example = task.preprocess(inputs, checked)
    (output,) = task.run(runner, [example])
    return task.postprocess(example, output).model_dump(mode="json")
