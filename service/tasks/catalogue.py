"""The tasks by name. Whole-answer tasks fulfil `PredictTask`; generation, which streams, has its own calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from service.bundle.load import Bundle
from service.bundle.manifest import TaskName
from service.tasks.core.parameters import check_parameters
from service.tasks.core.task import Answer, Parameters, PredictTask, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.recorded_form import GenerationAnswer, GenerationParameters, written_answer
from service.tasks.inputs.json_input import plain_value
from service.tasks.seq2seq.captioning import Captioning
from service.tasks.seq2seq.translation import Translation
from service.tasks.single_pass.classification import Classification
from service.tasks.single_pass.forecasting import Forecasting
from service.tasks.single_pass.tagging import Tagging

#: What `POST /predict` can answer: call with a bundle of that task.
PREDICT_TASKS: dict[TaskName, Callable[[Bundle], PredictTask[Any, Any]]] = {
    "tagging": Tagging,
    "classification": Classification,
    "translation": Translation,
    "forecasting": Forecasting,
    "captioning": Captioning,
}

AnyTask = PredictTask[Any, Any] | Generation


def task_of(bundle: Bundle) -> AnyTask:
    """The task that knows what to do with this bundle's graphs."""
    name = bundle.manifest.task
    return Generation(bundle) if name == "generation" else PREDICT_TASKS[name](bundle)


def parameters_type(task: AnyTask) -> type[Parameters]:
    """What `parameters` of a request or a recorded example may hold."""
    return GenerationParameters if isinstance(task, Generation) else task.parameters_type


def answer(task: AnyTask, runner: Runner, inputs: Any, parameters: Mapping[str, Any]) -> Answer:
    """The whole answer to one input, with any runner: what `examples.jsonl` records and every load repeats.

    Raises:
        InvalidInput: the input or a parameter is refused.
        InferenceFailed: a graph failed, or gave numbers that are not finite.
    """
    checked = check_parameters(parameters_type(task), parameters)
    if isinstance(task, Generation):
        result = task.generate(runner, inputs, checked.options)
        return GenerationAnswer.model_validate(written_answer(result, checked, inputs))
    example = task.preprocess(plain_value(inputs), checked)
    (output,) = task.run(runner, [example])
    return task.postprocess(example, output)
