"""A run of the tests fails where something was skipped that should have run, and says why tests were skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.allowed_skips import ALLOWED, NO_GPU, is_allowed

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests import skip_gate

def pytest_addoption(parser):
    parser.addoption(skip_gate.OPTION, action="store_true")

def pytest_configure(config):
    config.pluginmanager.register(skip_gate.SkipGate(config.getoption("strict_skips")))
"""


def outcome(folder: Path, test: str, *options: str) -> tuple[int, str]:
    """Exit status and output of a run over one file that passes one test and skips as `test` says.

    No plugin is loaded but pytest-xdist: loading them costs far more than the run.
    """
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    source = f"import pytest\n\ndef test_that_passes():\n    assert True\n\n{test}\n"
    (folder / "test_sample.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_skip_for_an_unlisted_reason_fails_a_strict_run(tmp_path: Path, workers: tuple[str, ...]) -> None:
    status, said = outcome(tmp_path, "def test_it():\n    pytest.skip('no such program')", "--strict-skips", *workers)
    assert status == 1
    assert "    1  no such program  (NOT ALLOWED)" in said
    assert "1 tests were skipped for reasons that are not allowed" in said


def test_a_listed_reason_does_not_fail_a_strict_run(tmp_path: Path) -> None:
    """Skips are counted by reason; details may follow a listed reason."""
    skip = f"@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n):\n    pytest.skip('{NO_GPU}: no driver')"
    status, said = outcome(tmp_path, skip, "--strict-skips")
    assert status == 0
    assert f"    2  {NO_GPU}: no driver\n" in said


def test_a_file_that_is_skipped_as_a_whole_counts_too(tmp_path: Path) -> None:
    """As `importorskip` does at the top of a file: no test of it is even collected."""
    status, said = outcome(tmp_path, "pytest.importorskip('no_such_module')", "--strict-skips")
    assert status == 1
    assert "no_such_module" in said


def test_other_runs_only_list_what_was_skipped(tmp_path: Path) -> None:
    """Whoever runs one file need not have everything installed."""
    status, said = outcome(tmp_path, "def test_it():\n    pytest.skip('no such program')")
    assert status == 0
    assert "    1  no such program  (fails in CI)" in said


def test_a_failure_stays_a_failure(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, "def test_it():\n    assert 1 == 2", "--strict-skips")
    assert status == 1
    assert "skipped tests by reason" not in said


def test_a_reason_must_be_written_as_it_is_listed() -> None:
    assert all(is_allowed(reason) and is_allowed(f"{reason}: because") for reason in ALLOWED)
    assert not is_allowed("")
    assert not is_allowed(f"maybe {NO_GPU}")
    assert not is_allowed(f"{NO_GPU} today")
