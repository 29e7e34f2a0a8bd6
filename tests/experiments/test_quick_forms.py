"""Every experiment runs in its quick form and returns tables and panels of the expected shape."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from tests.allowed_skips import NO_DATA
from training.evaluation.torch_runner import one_thread
from training.experiments.catalogue import EXPERIMENTS
from training.experiments.harness.drawing import draw
from training.experiments.harness.outcome import AnyExperiment, Outcome

#: Number of rows of each table, which follows from the quick settings.
NUM_ROWS = {
    "hello": [4, 8],
    "cells": [6],
    "adding": [4 * 2],
    "copy-memory": [4 * 2],
    "agreement": [5, 5],
    "gradients": [6],
    "clipping": [2],
    "truncation": [2, 2],
    "attention": [2 * 2],
    "looking": [2 * 2],
    "scan": [3 * 2],
    "directions": [4],
    "early": [5],
    "ablation": [5],
    "spikes": [3, 2],
    "transducers": [3],
    "fusion": [3 + 3, 3],
    "resolution": [3],
}


#: Experiments on public data; the others generate their own.
READ_DATA = {
    "cells",
    "clipping",
    "truncation",
    "directions",
    "early",
    "ablation",
    "scan",
    "spikes",
    "fusion",
    "resolution",
}


def quick_outcome(experiment: AnyExperiment) -> Outcome:
    """Return the result of the quick form; skip the test if its data is not available."""
    if experiment.name in READ_DATA and not os.environ.get("UNROLL_DATA_DIR"):
        pytest.skip(NO_DATA)
    with one_thread():
        return experiment.run(experiment.quick, lambda _line: None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_quick_form_gives_tables_and_a_figure_of_the_right_shape(name: str, tmp_path: Path) -> None:
    """The quick form returns tables with the expected rows and columns, panels with data, and a small figure."""
    outcome = quick_outcome(EXPERIMENTS[name])
    assert [len(table.rows) for table in outcome.tables] == NUM_ROWS[name]
    assert {len(row) - len(table.columns) for table in outcome.tables for row in table.rows} == {0}
    for panel in outcome.panels:
        heights = [y for line in panel.lines for y in line.ys] + [height for height, _ in panel.bars.values()]
        assert heights
        assert not any(math.isinf(height) for height in heights)
        assert panel.x_label
        assert panel.y_label
    draw(outcome.panels, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size < 60_000


def test_every_experiment_asks_a_question_under_its_own_name() -> None:
    assert set(NUM_ROWS) == set(EXPERIMENTS)
    assert all(experiment.question.endswith("?") for experiment in EXPERIMENTS.values())
    assert {name for name, experiment in EXPERIMENTS.items() if experiment.name != name} == set()
