"""The limit: the graph of a bundle in sorted groups of 16 of the same texts, and one text at a time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime as ort

from service.bundle.load import Bundle, load_bundle
from service.inference.runtime.ort_runner import OrtRunner, session_options
from service.tasks.catalogue import predicts, task_of
from service.tasks.core.task import Array
from tests.load.request_cost.texts import ROWS

GROUP = 16
_NUM_ALONE = 400

Feeds = Mapping[str, Array]


class _FeedRecorder:
    """A runner that keeps what a task feeds it."""

    def __init__(self, runner: OrtRunner) -> None:
        self._runner = runner
        self.feeds: list[Feeds] = []

    def run(self, graph: str, feeds: Feeds) -> dict[str, Array]:
        self.feeds.append(feeds)
        return self._runner.run(graph, feeds)


def measure(models: Path, row: str, seconds: float) -> dict[str, float]:
    """Texts a second in sorted groups, and the median of a run of one text in microseconds."""
    model, texts = ROWS[row]
    bundle = load_bundle(models / model / "1")
    alone, groups = _feeds_of(bundle, texts())
    (graph,) = bundle.manifest.graphs
    session = ort.InferenceSession(str(bundle.graph_path(graph)), session_options(1))
    names = list(OrtRunner(bundle).run(graph, groups[0]))
    num_texts, started_s = 0, time.perf_counter()
    while time.perf_counter() < started_s + seconds:
        for feeds in groups:
            session.run(names, feeds)
            num_texts += len(feeds["lengths"])
    rate = num_texts / (time.perf_counter() - started_s)
    return {"rate": rate, "alone_us": 1e6 * median([_seconds_of(session, names, feeds) for feeds in alone])}


def _feeds_of(bundle: Bundle, texts: Sequence[str]) -> tuple[list[Feeds], list[Feeds]]:
    """Of some texts alone, and of all in groups of near lengths."""
    recorder, task = _FeedRecorder(OrtRunner(bundle)), task_of(bundle)
    assert predicts(task)
    examples = [task.preprocess(text, task.parameters_type()) for text in texts]
    for example in examples[:_NUM_ALONE]:
        task.run(recorder, [example])
    examples.sort(key=lambda example: example.length)
    for start in range(0, len(examples), GROUP):
        task.run(recorder, examples[start : start + GROUP])
    return recorder.feeds[:_NUM_ALONE], recorder.feeds[_NUM_ALONE:]


def _seconds_of(session: Any, names: list[str], feeds: Feeds) -> float:
    started_s = time.perf_counter()
    session.run(names, feeds)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
