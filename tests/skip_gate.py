"""A pytest plugin that lists skipped tests by reason and fails the run if a reason is not allowed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.allowed_skips import is_allowed

OPTION = "--strict-skips"


class SkipGate:
    """Counts skips. If `is_strict`, a skip whose reason is not in `tests/allowed_skips.py` fails the whole run."""

    def __init__(self, is_strict: bool) -> None:
        self._is_strict = is_strict
        self._reasons: Counter[str] = Counter()

    # With pytest-xdist, reports of all workers arrive here.
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._count(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._is_strict and self._refused() and session.exitstatus in (pytest.ExitCode.OK, 5):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._reasons:
            return
        terminalreporter.section("skipped tests by reason")
        for reason, count in self._reasons.most_common():
            note = "" if is_allowed(reason) else "  (NOT ALLOWED)" if self._is_strict else "  (fails in CI)"
            terminalreporter.line(f"{count:>5}  {reason}{note}")
        if self._is_strict and self._refused():
            terminalreporter.line("")
            terminalreporter.line(
                f"{sum(self._refused().values())} tests were skipped for reasons that are not allowed: install what "
                "they need (`make test-system`), or add the reason to tests/allowed_skips.py",
                red=True,
                bold=True,
            )

    def _count(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._reasons[text.removeprefix("Skipped: ")] += 1

    def _refused(self) -> Counter[str]:
        return Counter({reason: count for reason, count in self._reasons.items() if not is_allowed(reason)})
