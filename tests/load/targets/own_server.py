"""The service as a process of its own, on a free port, with the settings of one test and none from outside."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.load.places import ROOT
from tests.load.targets.server_process import ServerProcess, StartFailed
from tests.ports import free_port

_START_S = 120.0
_POLL_S = 0.2


@contextmanager
def own_server(
    models: Path, log: Path, settings: Mapping[str, str], prefix: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """Start the service on these models, wait until it is ready, and stop it at the end.

    Its output goes to `log`; `prefix` begins its command. Raises StartFailed.
    """
    port = free_port()
    command = [*prefix, sys.executable, "-m", "service", "serve", "--port", str(port), "--models", str(models)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "OTEL_"))}
    environ = kept | {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"} | dict(settings)
    process = ServerProcess(command, environ, ROOT, port, log)
    try:
        wait_until_ready(process)
        yield process
    finally:
        process.stop()


def wait_until_ready(process: ServerProcess) -> None:
    """Wait until the service says that it is ready. Raises StartFailed."""
    give_up_s = time.monotonic() + _START_S
    reason = ""
    while process.pids() and time.monotonic() < give_up_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/health/ready", timeout=_START_S):
                return
        except urllib.error.HTTPError as error:
            reason = error.read().decode("utf-8", "replace")
        except OSError as error:
            reason = str(error)
        time.sleep(_POLL_S)
    raise StartFailed(f"the service is not ready: {reason}")
