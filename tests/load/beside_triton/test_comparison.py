"""The comparison with Triton takes ratios within rounds, and shows faults of either server."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tests.load.beside_triton.display import triton_table
from tests.load.beside_triton.run import FORMS, UNROLL, Figures, rows_of


def figures(rate: float, wrong: int = 0) -> Figures:
    return {"rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "server_ms": 0.5, "wrong": wrong, "errors": {"timeout": wrong}}


def test_ratios_are_those_of_rounds_and_faults_are_added_up() -> None:
    """The second round was three times as slow for both; the ratio is still 2."""
    triton = FORMS[0]
    found = {
        (UNROLL.name, 64): [figures(200.0), figures(60.0), figures(180.0)],
        (triton.name, 64): [figures(100.0, wrong=1), figures(30.0), figures(90.0, wrong=2)],
    }
    ours, theirs = rows_of((UNROLL, triton), [64], found)
    assert (ours.rate, ours.ratio) == (180.0, None)
    assert theirs.ratio is not None
    assert theirs.ratio.value == pytest.approx(2.0)
    assert (theirs.wrong, theirs.errors) == (3, 3)
    out = StringIO()
    Console(file=out, width=150).print(triton_table([ours, theirs]))
    assert "2.000 (2.000 to 2.000)" in out.getvalue()
    assert "3 wrong, 3 errors" in out.getvalue()
