"""Distribution of tests to pytest-xdist workers: by file, except for groups that need one worker."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from xdist.scheduler import LoadScopeScheduling

#: Folders and files whose tests start browsers or several servers; one worker runs a group sequentially.
GROUPS = {
    "tests/browser": "browser",
    "tests/end_to_end": "servers",
    "tests/chaos": "servers",
    "tests/load": "servers",
    "tests/clients": "clients",
    "tests/gpu": "gpu",
}

#: Files of few tests that take long. Without these and the groups in front, one worker would end with them alone.
SLOW_FILES = (
    "tests/training/fit/test_distributed.py",
    "tests/observability/test_log_writer.py",
    "tests/server/test_slow_clients.py",
    "tests/training/publish/test_variants.py",
    "tests/training/evaluation/analysis/test_report.py",
    "tests/training/pipeline/test_search.py",
)


def group_of(node_id: str) -> str:
    """The group of a test, or its file if it belongs to no group."""
    file = node_id.partition("::")[0]
    folders = PurePosixPath(file).parents
    return next((GROUPS[str(folder)] for folder in folders if str(folder) in GROUPS), file)


def begin_long_ones_first(items: list[Any]) -> None:
    """Sort collected tests into the order in which their groups are begun: long ones, then those of many tests."""
    sizes = Counter(group_of(item.nodeid) for item in items)
    long = {*GROUPS.values(), *SLOW_FILES}
    items.sort(key=lambda item: ((group := group_of(item.nodeid)) not in long, -sizes[group]))


class GroupScheduling(LoadScopeScheduling):
    """Assigns whole groups to workers, in the order of the collected tests."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # it would put groups of many tests before those that take long

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def make_scheduler(config: Any, log: Any) -> GroupScheduling:
    """The scheduler of a run without its own `--dist` option."""
    return GroupScheduling(config, log)
