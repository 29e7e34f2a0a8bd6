"""Steps whose state stays on the device give what single runs give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import TaskName
from service.errors import InferenceFailed
from service.inference.runtime.ort_runner import OrtRunner
from tests.inference.runtime.test_precision import random_feeds
from tests.tiny_bundles import NAMES


def opened(tiny_models: Path, task: TaskName) -> tuple[Bundle, OrtRunner]:
    bundle = load_bundle(tiny_models / NAMES[task] / "1")
    return bundle, OrtRunner(bundle, "cpu")


@pytest.mark.parametrize(("task", "graph"), [("generation", "step"), ("translation", "decoder_step")])
def test_many_steps_equal_many_runs(tiny_models: Path, task: TaskName, graph: str) -> None:
    """Bit for bit, outputs and state; what is the same at each step (an encoder's memory) is given once."""
    bundle, runner = opened(tiny_models, task)
    feeds = random_feeds(bundle, graph, batch=3)
    session = runner.step_session(graph)
    session.start({name: array for name, array in feeds.items() if name != "token"})
    for step in range(5):
        feeds["token"] = np.array([4, 5, 4 + step % 3])
        expected, found = runner.run(graph, feeds), session.step(feeds["token"])
        feeds |= {state.name: expected[state.next_name] for state in bundle.manifest.state}
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name])
    for name, values in session.state.items():
        np.testing.assert_array_equal(values, feeds[name])


def test_a_batch_that_does_not_fit_never_reaches_the_graph(tiny_models: Path) -> None:
    """No batch, another number of rows, or an id that does not exist."""
    bundle, runner = opened(tiny_models, "generation")
    session = runner.step_session("step")
    with pytest.raises(InferenceFailed, match="no batch was started"):
        session.step(np.array([4]))
    feeds: dict[str, Any] = random_feeds(bundle, "step", batch=2)
    feeds.pop("token")
    session.start(feeds)
    with pytest.raises(InferenceFailed, match="axis 'batch'"):
        session.step(np.array([4, 5, 6]))
    with pytest.raises(InferenceFailed, match="ids from -1"):
        session.step(np.array([4, -1]))
