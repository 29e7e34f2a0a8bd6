"""Worker processes that score windows and write them as parts.

Graphs run without the interpreter's lock, but reading and writing of rows needs it: on many cores threads of one
process would wait for each other, processes do not.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait as wait_for_end
from typing import NamedTuple

from service.errors import UnrollError
from service.offline.answer_columns import cells_of
from service.offline.job.part_counts import PartCounts
from service.offline.job.part_store import PartStore
from service.offline.reading.source import Window
from service.offline.scorer import Scorer
from service.offline.writing.output_plan import OutputPlan
from service.offline.writing.part_files import write_part

#: Windows that wait while every worker has one: reading goes on meanwhile.
_MAX_WAITING = 2
#: A window makes this many objects, none of which is garbage before its end: to look for it more often costs time.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000


class Written(NamedTuple):
    """A window that is a part now."""

    number: int
    counts: PartCounts


class PartWorker:
    """Scores windows in this process."""

    def __init__(self, scorer: Scorer, plan: OutputPlan, store: PartStore) -> None:
        self._scorer, self._plan, self._store = scorer, plan, store

    def __call__(self, window: Window) -> Written:
        """Score a window and commit its part. Raises UnrollError, OSError."""
        answers = self._scorer.answer(window.values)
        cells = cells_of(self._scorer.columns, answers)
        counts = PartCounts.of(answers)
        self._store.commit(window.number, lambda path: write_part(path, self._plan, window.kept, cells), counts)
        return Written(window.number, counts)


def write_parts(windows: Iterable[Window], worker: PartWorker, num_workers: int) -> Iterator[Written]:
    """Every window as a part, in whatever order they are ready. A single window is scored in this process.

    Raises:
        UnrollError: a window could not be scored or written, or a process ended; the parts that are there stay.
    """
    iterator = iter(windows)
    first = list(islice(iterator, 2))
    if len(first) < 2 or num_workers == 1:
        yield from map(worker, chain(first, iterator))
        return
    context = multiprocessing.get_context("spawn")  # a copy of a process with the threads of onnxruntime may hang
    with ProcessPoolExecutor(num_workers, context, _begin, (worker,)) as pool:
        try:
            yield from _in_flight(pool, chain(first, iterator), num_workers + _MAX_WAITING)
        except BrokenProcessPool as error:
            message = "a worker process ended by itself, perhaps for lack of memory: repeat the command to continue"
            raise UnrollError(message) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_flight(pool: ProcessPoolExecutor, windows: Iterator[Window], most: int) -> Iterator[Written]:
    """Hand out windows, `most` of them at a time."""
    running: set[Future[Written]] = {pool.submit(_score, window) for window in islice(windows, most)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(_score, window) for window in islice(windows, len(done))}
        yield from (future.result() for future in done)


#: The worker of this process, once `_begin` has run.
_workers: list[PartWorker] = []


def _begin(worker: PartWorker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    _workers.append(worker)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for windows for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _score(window: Window) -> Written:
    try:
        return _workers[0](window)
    except UnrollError as error:
        raise UnrollError(str(error)) from None  # its class may not survive the way to the other process
