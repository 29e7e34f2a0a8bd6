"""How pytest-xdist shares the tests among its workers: file by file, and exclusive ones all by one worker."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from xdist.scheduler import LoadScopeScheduling

#: Folders and files whose tests start browsers or several servers: one worker runs all of a group, one after the other.
GROUPS = {
    "tests/browser": "browser",
    "tests/end_to_end": "servers",
    "tests/chaos": "servers",
    "tests/load": "servers",
    "tests/gpu": "gpu",
}


def group_of(node_id: str) -> str:
    """The group of a test; the file it is in, if the test disturbs no other."""
    file = node_id.partition("::")[0]
    folders = PurePosixPath(file).parents
    return next((GROUPS[str(folder)] for folder in folders if str(folder) in GROUPS), file)


class GroupScheduling(LoadScopeScheduling):
    """Hands a worker one whole group at a time, large groups first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def make_scheduler(config: Any, log: Any) -> GroupScheduling:
    """The scheduler for a run that did not ask for another `--dist`."""
    return GroupScheduling(config, log)
