"""Start a worker: fork it from the supervisor, which has imported the service and has no threads.

What was imported before is shared with all workers, copied only where it is written.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from service.observability.json_logs import flush_logs
from service.server.workers.seat import ORDERS, Seat
from service.server.workers.worker_table import WorkerTable
from service.settings import SettingsError
from service.worker_group import WorkerGroup

#: Exit status of a worker that cannot be started with these settings, as BSD's sysexits name it.
REFUSED = 78
_ORDER_OF = {sig: bytes([letter]) for letter, sig in ORDERS.items()}

#: Serves until it is told to stop. Raises SettingsError or OSError where it cannot start.
Serve = Callable[[Seat], None]


@dataclass
class WorkerProcess:
    """A worker as the supervisor sees it.

    Attributes:
        orders, status: our ends of its pipes.
        failure: why it could not start; "" while that is not known.
        must_end_s: when it is killed, by `time.monotonic()`; 0 while it may live.
    """

    index: int
    pid: int
    orders: int
    status: int
    has_started: bool = False
    failure: str = ""
    must_end_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def order(self, sig: int) -> None:
        """Tell it to stop, as the signal would."""
        with suppress(OSError):  # it has ended
            os.write(self.orders, _ORDER_OF[signal.Signals(sig)])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def read_status(self) -> None:
        """Take note of what it has said: that it has started, or why it could not."""
        with suppress(BlockingIOError):
            while said := os.read(self.status, 4096):
                self.has_started = self.has_started or said.startswith(b"+")
                self.failure += said.lstrip(b"+").decode("utf-8", "replace")

    def close(self) -> None:
        """Close our ends of its pipes."""
        os.close(self.orders)
        os.close(self.status)


def start_worker(
    group: WorkerGroup,
    table: WorkerTable,
    listening: socket.socket,
    serve: Serve,
    siblings: Collection[WorkerProcess] = (),
    signals: Collection[int] = (),
) -> WorkerProcess:
    """Fork a worker that serves. `signals` are those that the supervisor blocks; a worker takes them as any process.

    Raises:
        OSError: the system has no more processes or descriptors.
    """
    pipes: list[tuple[int, int]] = []
    try:
        pipes += [os.pipe()]
        pipes += [os.pipe()]
        pid = os.fork()
    except OSError:
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)
        raise
    orders, status = pipes
    if pid == 0:
        code = 1
        try:
            for sibling in siblings:
                sibling.close()
            os.close(orders[1])
            os.close(status[0])
            os.set_blocking(orders[0], False)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can reload
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            code = _serve(Seat(group, table, listening, orders[0], status[1]), serve)
        finally:
            flush_logs()
            os._exit(code)
    os.close(orders[0])
    os.close(status[1])
    os.set_blocking(status[0], False)
    return WorkerProcess(group.index, pid, orders[1], status[0])


def end_of(code: int) -> str:
    """How a process ended, by its exit code: negative for a signal, also one that has no name."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _serve(seat: Seat, serve: Serve) -> int:
    """The exit status of the worker."""
    try:
        serve(seat)
    except (SettingsError, OSError) as error:
        seat.tell(str(error))
        return REFUSED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        seat.tell(f"{type(error).__name__}: {error}")
        return 1
    return 0
