"""Opens the bundles of a folder, forks, and loads them in the child, which prints as JSON what it found.

    python -m tests.inference.engines.forked_worker MODELS_FOLDER

In an interpreter of its own, since that of the tests has threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from service.inference.engines.bundle_entry import WatchedFolder
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.lifecycle.inherited import InheritedBundles, open_before_fork
from service.inference.engines.registry import Registry
from service.inference.runtime import ort_runner
from service.observability.metrics import Metrics
from service.server.idle_collector import settle_memory


def main(models: Path) -> None:
    """Fork one worker and wait for it."""
    inherited = open_before_fork(WatchedFolder(models), "cpu", "auto")
    settle_memory()
    num_threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    opened: list[Path] = []
    open_session = ort_runner._open_session
    ort_runner._open_session = lambda plan, *rest: opened.append(plan.file) or open_session(plan, *rest)  # type: ignore[func-returns-value]
    found = asyncio.run(serve(models, inherited))
    files = [str(file) for file in opened]
    memory = {"private": memory_bytes("Private_Dirty"), "shared": memory_bytes("Shared_Dirty")}
    print(json.dumps({**found, "opened": files, "threads_at_fork": num_threads, **memory}), flush=True)
    os._exit(0)


async def serve(models: Path, inherited: InheritedBundles) -> dict[str, Any]:
    """Load the bundles as a worker does, with lanes of its own; the self-check runs every graph."""
    registry = Registry(models, EngineOptions("cpu", num_lanes=2), Metrics(CollectorRegistry()), inherited=inherited)
    try:
        await registry.load()
        return {"states": {entry.name: entry.state for entry in registry.entries}, "left": len(inherited)}
    finally:
        await registry.close(drain_timeout_s=1.0)


def memory_bytes(kind: str) -> int:
    """Memory of this process of one of the kinds in `smaps_rollup`."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
