"""Tests that would disturb each other are run by one worker, one after the other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tests.worker_groups import GROUPS, SLOW_FILES, begin_long_ones_first, group_of

ROOT = Path(__file__).parents[2]


def test_tests_of_one_file_stay_together() -> None:
    """Fixtures of a module are made once, not once for each worker."""
    assert group_of("tests/api/test_state.py::test_a") == group_of("tests/api/test_state.py::TestB::test_b[x::y]")
    assert group_of("tests/api/test_state.py::test_a") != group_of("tests/api/test_numbers.py::test_a")


def test_browsers_and_fleets_of_servers_are_started_by_one_worker_each() -> None:
    assert group_of("tests/browser/test_page.py::test_a") == group_of("tests/browser/test_signals.py::test_b")
    assert group_of("tests/end_to_end/test_replicas.py::test_a") == group_of("tests/chaos/test_crowds.py::test_b")


def test_every_group_names_a_folder_that_exists() -> None:
    assert all((ROOT / folder).is_dir() for folder in GROUPS)
    assert all((ROOT / file).is_file() for file in SLOW_FILES)


def test_long_groups_are_begun_first_then_those_of_many_tests() -> None:
    names = ["a.py::x", "b.py::x", "b.py::y", f"{SLOW_FILES[0]}::x", "tests/browser/c.py::x", "tests/browser/c.py::y"]
    items = [SimpleNamespace(nodeid=name) for name in names]
    begin_long_ones_first(items)
    assert [item.nodeid for item in items] == [*names[4:], names[3], *names[1:3], names[0]]
