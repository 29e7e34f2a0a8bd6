"""Recurrences that are graphs of their own, in a Scan or a Loop, as scripts and other frameworks write them."""

from __future__ import annotations

import numpy as np
import pytest

from service.bundle.manifest import LENGTHS
from tests.training.importing.hand_made import FEATURES, own_cell, own_cell_alone
from training.importing.proof import RewrittenRunner
from training.importing.understanding import Understanding, understand


def run(found: Understanding, x: np.ndarray, **more: np.ndarray) -> dict[str, np.ndarray]:
    zeros = {part.name: np.zeros((part.layers, len(x), part.width), np.float32) for part in found.draft.state}
    return RewrittenRunner(found.draft.model).run("model", {"x": x, **zeros, **more})


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_scan_ends_with_its_row(batch_first: bool, is_reversed: bool) -> None:
    """Rows of a mixed batch equal the cell in numpy; a Scan that goes backwards begins at the end of its row."""
    model = own_cell("Scan", batch_first=batch_first, is_reversed=is_reversed)
    found = understand(model)
    x, lengths = numbers(3, 6, FEATURES), (6, 1, 4)
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    outputs = run(found, x, **{LENGTHS: np.array(lengths)})
    for row, length in enumerate(lengths):
        y, z = own_cell_alone(model, x[row, :length], is_reversed=is_reversed)
        np.testing.assert_allclose(outputs["y"][row, :length], y, atol=1e-5)
        np.testing.assert_allclose(outputs["z"][row], z, atol=1e-5)
    assert bool(found.draft.state) != is_reversed


@pytest.mark.parametrize("kind", ["Scan", "Loop"])
def test_the_state_of_a_loop_is_taken_out(kind: str) -> None:
    """Steps one by one, each from the state before, equal the cell over the whole."""
    model = own_cell(kind)
    found = understand(model)
    x = numbers(1, 5, FEATURES)
    y, z = own_cell_alone(model, x[0])
    state: dict[str, np.ndarray] = {}
    for step in range(5):
        more = {LENGTHS: np.array([1])} if found.draft.has_lengths else {}
        outputs = run(found, x[:, step : step + 1], **more, **state)
        state = {part.name: outputs[part.next_name] for part in found.draft.state}
        np.testing.assert_allclose(outputs["y"][0, 0], y[step], atol=1e-5)
    assert state
    np.testing.assert_allclose(outputs["z"][0], z, atol=1e-5)


def test_a_loop_shares_batches_with_rows_of_its_length_alone() -> None:
    """A Loop counts steps, not those of each row; it says so."""
    found = understand(own_cell("Loop"))
    assert not found.draft.has_lengths
    assert any("Loop does not end with its row" in sentence for sentence in found.missing)
