"""Every task that a manifest can name can be built."""

from __future__ import annotations

from typing import get_args

from service.bundle.manifest import TaskName
from service.tasks.catalogue import PREDICT_TASKS


def test_every_task_name_is_answered() -> None:
    assert {*PREDICT_TASKS, "generation"} == set(get_args(TaskName))
