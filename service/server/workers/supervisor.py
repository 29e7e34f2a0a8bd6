"""The supervisor: binds the port, starts the workers that share it, replaces those that die, and stops them all.

It serves nothing and has no threads, so that it can fork at any time.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from service.server.workers.group_folder import group_folder
from service.server.workers.published_metrics import keep_of_ended
from service.server.workers.supervisor_log import configure_supervisor_log
from service.server.workers.worker_process import REFUSED, Serve, WorkerProcess, end_of, start_worker
from service.server.workers.worker_table import WorkerState, WorkerTable
from service.settings import Settings, SettingsError
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

_STOPPING = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*_STOPPING, signal.SIGHUP, signal.SIGCHLD)
_LOOK_EVERY_S = 0.5
#: A supervisor that has not looked for so long was stopped, with its workers: by a terminal, or a container's freezer.
_PAUSED_S = 5.0
#: Pauses before a worker is replaced: it doubles with each that dies young, and is short again after a long life.
_FIRST_PAUSE_S, _LAST_PAUSE_S, _YOUNG_S = 0.5, 30.0, 30.0
#: Deaths of as many workers as there are, so many times over without one that was ready, are the end.
_MAX_ROUNDS = 3
#: How long after its time to finish a worker is killed.
_KILL_MARGIN_S = 10.0
_KILL_AFTER_FORCE_S = 5.0


def run_workers(settings: Settings, count: int, listening: socket.socket, serve: Serve) -> None:
    """Serve with `count` workers until SIGTERM or SIGINT. `serve` is called in each of them.

    Raises:
        SettingsError: no worker can start with these settings.
        OSError: the workers die at once, again and again; the message says how.
    """
    if not hasattr(signal, "sigtimedwait") or not hasattr(os, "fork"):
        raise SettingsError("UNROLL_WORKERS needs Linux; leave it at 1 here")
    with group_folder(settings.workers_dir) as folder:
        configure_supervisor_log(settings.log_level, folder)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            stopped_by = Supervisor(settings, count, folder, listening, serve).run()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    signal.raise_signal(stopped_by)  # ends as a single process does


class Supervisor:
    """The workers of one service."""

    def __init__(self, settings: Settings, count: int, folder: Path, listening: socket.socket, serve: Serve) -> None:
        self._settings = settings
        self._count = count
        self._folder = folder
        self._listening = listening
        self._serve = serve
        self._table = WorkerTable(folder, count)
        self._workers: dict[int, WorkerProcess] = {}
        self._pauses_s = [0.0] * count
        self._start_at_s = [0.0] * count
        self._num_deaths = 0
        self._stopped_by: int | None = None
        self._looked_s = self._awake_since_s = time.monotonic()
        self._finish_s = settings.stop_delay_s + settings.drain_timeout_s + _KILL_MARGIN_S
        self.num_restarts = 0

    def run(self) -> int:
        """Supervise until a signal; the signal."""
        logger.info("%d workers share %s", self._count, self._address())
        gc.collect()
        gc.freeze()  # objects that are never collected again stay shared with the workers
        try:
            while True:
                self._start_missing()
                self._take(signal.sigtimedwait(SIGNALS, _LOOK_EVERY_S))
                self._reap()
                self._end_overdue()
                if self._stopped_by is not None and not self._workers:
                    return self._stopped_by
        finally:
            self._kill_all()

    def _start_missing(self) -> None:
        now_s = time.monotonic()
        for index in range(self._count):
            if self._stopped_by is None and index not in self._workers and now_s >= self._start_at_s[index]:
                self._start(index)

    def _start(self, index: int) -> None:
        group, siblings = WorkerGroup(index, self._count, self._folder), tuple(self._workers.values())
        try:
            self._workers[index] = start_worker(group, self._table, self._listening, self._serve, siblings, SIGNALS)
        except OSError as error:  # no process, memory or descriptor is left: those that run go on
            fields = {"of_worker": index, "reason": error.strerror or str(error)}
            self._pause(index, error.strerror or str(error), lived_s=0.0)
            logger.error("a worker could not be started: it is tried again", extra=fields)

    def _take(self, taken: signal.struct_siginfo | None) -> None:
        if taken is None:
            return
        if taken.si_signo in _STOPPING or (taken.si_signo == signal.SIGHUP and _is_terminal()):
            self._stop(signal.SIGTERM if taken.si_signo == signal.SIGHUP else taken.si_signo)
        elif taken.si_signo == signal.SIGHUP:
            for worker in self._workers.values():
                os.kill(worker.pid, signal.SIGHUP)

    def _stop(self, sig: int) -> None:
        """Pass the signal on; each worker finishes as a single process does."""
        is_first, now_s = self._stopped_by is None, time.monotonic()
        is_forced = not is_first and sig == signal.SIGINT
        if is_first:
            self._stopped_by = sig
            self._listening.close()
        for worker in self._workers.values():
            worker.order(sig)
            worker.must_end_s = now_s + (_KILL_AFTER_FORCE_S if is_forced else self._finish_s)

    def _reap(self) -> None:
        by_pid = {worker.pid: worker for worker in self._workers.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in by_pid:  # else an orphan, which the first process of a container inherits
                self._bury(by_pid[pid], os.waitstatus_to_exitcode(status))
        if any(self._table.state(index) is WorkerState.READY for index in self._workers):
            self._num_deaths = 0

    def _bury(self, worker: WorkerProcess, code: int) -> None:
        """Note the end of a worker, and when it is replaced. Raises SettingsError, OSError where none can start."""
        worker.read_status()
        worker.close()
        index, lived_s = worker.index, time.monotonic() - worker.started_s
        self._table.clear(index)
        del self._workers[index]
        if self._stopped_by is not None:
            return
        how = end_of(code)
        if code == REFUSED and not worker.has_started and self.num_restarts == 0:
            raise SettingsError(worker.failure)
        self._pause(index, worker.failure or how, lived_s)
        self.num_restarts += 1
        fields = {"of_worker": index, "pid": worker.pid, "ended": how, "lived_s": round(lived_s, 1)}
        logger.error("a worker has ended and is replaced", extra=fields | {"reason": worker.failure or how})
        try:
            keep_of_ended(self._folder, index)
        except (OSError, ValueError) as error:
            logger.error("counters of workers that ended cannot be added up", extra={"reason": str(error)})

    def _pause(self, index: int, reason: str, lived_s: float) -> None:
        """Start a worker later. Raises OSError where none becomes ready, again and again."""
        self._num_deaths += 1
        if self._num_deaths >= _MAX_ROUNDS * self._count:
            raise OSError(f"no worker stays alive: {self._num_deaths} ended before one was ready; {reason}")
        self._pauses_s[index] = _pause_s(self._pauses_s[index], lived_s)
        self._start_at_s[index] = time.monotonic() + self._pauses_s[index]

    def _end_overdue(self) -> None:
        """Kill workers that do not end when they should, and end those that stand still."""
        now_s, max_run_s = time.monotonic(), self._settings.max_run_s
        if now_s - self._looked_s > _PAUSED_S:
            self._awake_since_s = now_s
        self._looked_s = now_s
        for worker in self._workers.values():
            if worker.must_end_s and now_s > worker.must_end_s:
                logger.error("a worker does not end and is killed", extra={"of_worker": worker.index})
                worker.kill()
            elif max_run_s and not worker.must_end_s and self._silent_s(worker.index, now_s) > max_run_s:
                logger.error("a worker does not answer and is killed", extra={"of_worker": worker.index})
                worker.kill()
                worker.must_end_s = now_s + _KILL_AFTER_FORCE_S
            elif not worker.must_end_s and self._table.is_stuck(worker.index):
                logger.error("the lanes of a worker stand still: it is stopped", extra={"of_worker": worker.index})
                worker.order(signal.SIGTERM)
                worker.must_end_s = now_s + self._finish_s

    def _silent_s(self, index: int, now_s: float) -> float:
        """How long a worker could have given a sign of life and has not."""
        return min(self._table.silent_s(index), now_s - self._awake_since_s)

    def _kill_all(self) -> None:
        """At the end by an error, leave nobody behind."""
        for worker in self._workers.values():
            worker.kill()
            os.waitpid(worker.pid, 0)

    def _address(self) -> str:
        host, port = self._listening.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _pause_s(before_s: float, lived_s: float) -> float:
    """The pause before a worker is replaced: none after a long life."""
    if lived_s > _YOUNG_S:
        return 0.0
    return min(_LAST_PAUSE_S, 2 * before_s or _FIRST_PAUSE_S)


def _is_terminal() -> bool:
    """Whether SIGHUP means that the window of the service was closed."""
    return bool(sys.stdin) and sys.stdin.isatty()
