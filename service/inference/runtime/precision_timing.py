"""Precision timing: which of two runners of a bundle is faster on this machine, measured on the bundle's examples."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import TensorSpec
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.core.task import Array, Runner, Task, run_with_hidden
from service.tasks.inputs.json_input import plain_value

#: Rows of a typical batch under load; a single row says little about the speed of a precision.
NUM_ROWS = 16
NUM_ROUNDS = 5
#: A smaller gain is not worth different numbers, nor replicas that choose differently.
LEAST_GAIN = 0.1

#: The feeds of each graph, by its name.
GraphFeeds = dict[str, Mapping[str, Array]]


def faster_of(bundle: Bundle, task: Task, one: OrtRunner, other: OrtRunner) -> OrtRunner:
    """`other` if it runs each graph once in clearly less time, else `one`. The best of several interleaved rounds."""
    feeds = typical_feeds(bundle, task, one)
    rounds = [(seconds_of(one, feeds), seconds_of(other, feeds)) for _ in range(1 + NUM_ROUNDS)]
    # The first round is a warm-up: kernels are selected and memory is allocated in it.
    best_s, best_other_s = (min(seconds) for seconds in zip(*rounds[1:], strict=True))
    return other if best_other_s < (1.0 - LEAST_GAIN) * best_s else one


def typical_feeds(bundle: Bundle, task: Task, runner: Runner) -> GraphFeeds:
    """The first feeds of each graph in the bundle's examples, with the first row repeated to make a batch."""
    recorder, graphs = _Recorder(runner), bundle.manifest.graphs
    for example in bundle.examples:
        task.answer(recorder, plain_value(example.inputs), example.parameters)
    return {
        graph: {tensor.name: _first_row_repeated(feeds[tensor.name], tensor) for tensor in graphs[graph].inputs}
        for graph, feeds in recorder.feeds.items()
    }


def seconds_of(runner: Runner, feeds: GraphFeeds) -> float:
    """The total time of one run of each graph."""
    started_s = time.perf_counter()
    for graph, arrays in feeds.items():
        runner.run(graph, arrays)
    return time.perf_counter() - started_s


def _first_row_repeated(array: Array, tensor: TensorSpec) -> Array:
    return np.repeat(array.take([0], tensor.row_axis), NUM_ROWS, tensor.row_axis)


class _Recorder:
    """Forwards every run, and keeps the first feeds of each graph."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.feeds: GraphFeeds = {}

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.feeds.setdefault(graph, dict(feeds))
        return run_with_hidden(self._runner, graph, feeds)
