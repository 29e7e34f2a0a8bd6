"""The task catalogue is complete and consistent with bundles and routes."""

from __future__ import annotations

from typing import get_args

from service.api.schemas import GenerateRequest, PredictResponse
from service.bundle.options_of_task import OptionsOfTask
from service.bundle.task_options import TaskName, TaskOptions
from service.tasks.catalogue import TASKS, tasks_of_route
from service.tasks.core.predict_task import PredictTask

OPTIONS: tuple[type[OptionsOfTask], ...] = get_args(get_args(TaskOptions)[0])


def test_every_task_that_a_manifest_can_name_has_a_class_and_options() -> None:
    """Every task of the manifest has a class and options, in the order of the API."""
    assert tuple(TASKS) == get_args(TaskName)
    assert tuple(options.model_fields["task"].default for options in OPTIONS) == get_args(TaskName)


def test_the_schema_of_predictions_lists_every_predict_task_and_its_answers() -> None:
    """The OpenAPI document lists every prediction task and its answers."""
    fields, tasks = PredictResponse.model_fields, tasks_of_route("predict")
    assert get_args(fields["task"].annotation) == tuple(tasks)
    (answers,) = get_args(fields["predictions"].annotation)
    assert get_args(answers) == tuple(task.answer_type for task in tasks.values())


def test_the_task_of_generation_takes_what_its_route_takes() -> None:
    (task,) = tasks_of_route("generate").values()
    assert task.parameters_type in get_args(GenerateRequest.model_fields["parameters"].annotation)


def test_tasks_read_chunks_where_bundles_may() -> None:
    """A task reads chunks exactly where its bundle options allow state between chunks."""
    chunked = {options.model_fields["task"].default for options in OPTIONS if options.may_read_chunks}
    tasks = tasks_of_route("predict").items()
    assert {name for name, task in tasks if task.chunks is not PredictTask.chunks} == chunked
