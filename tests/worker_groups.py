"""Distribution of tests to pytest-xdist workers: by file, except for groups that need one worker."""

from __future__ import annotations

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


def group_of(node_id: str) -> str:
    """The group of a test, or its file if it belongs to no group."""
    file = node_id.partition("::")[0]
    folders = PurePosixPath(file).parents
    return next((GROUPS[str(folder)] for folder in folders if str(folder) in GROUPS), file)


class GroupScheduling(LoadScopeScheduling):
    """Assigns whole groups to workers, large groups first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def make_scheduler(config: Any, log: Any) -> GroupScheduling:
    """The scheduler of a run without its own `--dist` option."""
    return GroupScheduling(config, log)
