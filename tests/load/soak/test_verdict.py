"""What a soak concludes: growth from noisy samples, errors from the log, faults from statuses and error bodies."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.allowed_skips import OTHER_SYSTEM
from tests.load.soak.callers.caller import Caller, Unanswered
from tests.load.soak.callers.findings import Findings, Sort
from tests.load.soak.callers.known_answers import KnownAnswers
from tests.load.soak.callers.refusals import MAX_ANSWER_BYTES, Refusal, check_refusal
from tests.load.soak.verdict import Condition, Soaked
from tests.load.soak.watch.resources import Sample, growth, look_at
from tests.load.soak.watch.server_log import ServerLog

_WARM_UP_S = 60.0


def samples(memory_at: Callable[[float], float], files: int = 20, threads: int = 6) -> list[Sample]:
    """Five minutes, two samples a second, with noise and a few peaks."""
    rng = random.Random(4)
    peaks = [rng.choice([0.0] * 20 + [150.0]) for _ in range(600)]
    times = [number / 2 for number in range(600)]
    return [
        Sample(at_s, memory_at(at_s) + rng.gauss(0, 3) + peak, files, threads)
        for at_s, peak in zip(times, peaks, strict=True)
    ]


def soaked(found: list[Sample]) -> Soaked:
    return Soaked(Findings(), ServerLog(Path(os.devnull)), (), found, {"open_requests": 0}, 300.0, _WARM_UP_S)


def failing(found: Soaked) -> list[str]:
    return [condition.what for condition in found.conditions() if not condition.holds]


@pytest.mark.parametrize(
    ("memory_at", "fails"),
    [
        (lambda at_s: 200.0, False),
        (lambda at_s: 200 - 100 * (at_s < 40), False),  # caches fill during the warm-up
        (lambda at_s: 200 + at_s / 100, False),  # 1 %
        (lambda at_s: 200 + at_s / 15, True),  # 6 %
        (lambda at_s: 200 + 20 * (at_s > 200), True),
        (lambda at_s: 200 - at_s / 10, False),
    ],
    ids=["steady", "caches fill", "a little", "leak", "step", "less"],
)
def test_growth_is_judged_by_medians_of_windows(memory_at: Callable[[float], float], fails: bool) -> None:
    assert failing(soaked(samples(memory_at))) == (["resident memory"] if fails else [])


def test_files_and_threads_must_not_grow_either() -> None:
    before, after = samples(lambda at_s: 200.0), samples(lambda at_s: 200.0, files=60, threads=12)
    assert failing(soaked(before[:300] + after[300:])) == ["open files", "threads"]


def test_without_samples_nothing_is_proved() -> None:
    """Growth that was not measured, and figures that were not read, are failures."""
    nothing = Soaked(Findings(), ServerLog(Path(os.devnull)), ("leavers",), warm_up_s=_WARM_UP_S)
    expected = ["kinds that were not asked", "left open at the end", "resident memory", "open files", "threads"]
    assert failing(nothing) == expected
    assert growth([], _WARM_UP_S, "files") is None


def test_what_is_left_open_is_named() -> None:
    found = soaked(samples(lambda at_s: 200.0))
    found.left = {"open_requests": 0, "live_streams": 3}
    (condition,) = [each for each in found.conditions() if not each.holds]
    assert condition == Condition("left open at the end", "3 live_streams", "0", False)


@pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no /proc")
def test_a_process_is_looked_at_until_it_ends() -> None:
    here = look_at(os.getpid(), 1.0)
    assert here is not None
    assert (here.at_s, here.resident_mb > 1, here.files > 2, here.threads >= 1) == (1.0, True, True, True)
    assert look_at(2**22 + 1, 1.0) is None  # above the largest process id


def test_error_lines_of_the_log_are_counted_once(tmp_path: Path) -> None:
    """Errors and lines that are no JSON; a line that is not complete yet is read later."""
    file = tmp_path / "log"
    log = ServerLog(file)
    file.write_text('{"level": "warning"}\n{"level": "error", "message": "x"}\n\nTraceback (most recent', "utf-8")
    log.read_on()
    assert (log.num_lines, log.num_errors) == (2, 1)
    with file.open("a", encoding="utf-8") as more:
        more.write(" call last):\n7\n")
    log.read_on()
    log.read_on()
    assert (log.num_lines, log.num_errors) == (4, 3)
    assert log.shown[1] == "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("answer", "sort"),
    [
        (b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}", "server error"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\n{}", "server error"),
        (b"HTTP/1.1 429 X\r\nContent-Length: 2\r\n\r\n{}", "unexpected status"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{[", "wrong answer"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 20\r\n\r\n{", "no answer"),
        (b"nonsense\r\n\r\n", "no answer"),
        (b"", "no answer"),
    ],
)
def test_every_fault_is_counted_by_its_sort(answer: bytes, sort: Sort) -> None:
    findings = asyncio.run(ask_a_double(answer))
    assert findings.faults == {sort: 1}
    assert findings.requests == {"test": 1}


async def ask_a_double(answer: bytes) -> Findings:
    """One request to a server that writes `answer`, whatever it is, and closes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    findings = Findings()
    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        caller = Caller(server.sockets[0].getsockname()[1], KnownAnswers(), findings, seed=0)
        caller.kind = "test"
        with pytest.raises(Unanswered):
            await caller.ask("/predict", {})
        caller.close()
    return findings


@pytest.mark.parametrize(
    ("body", "num_faults"),
    [
        ({"error": "a", "error_type": "validation", "request_id": "1", "detail": [{"field": "n", "message": "a"}]}, 0),
        ({"error": "a", "error_type": "validation", "request_id": "1"}, 1),
        ({"error": "", "error_type": "internal", "request_id": "1", "detail": [{"field": "n"}]}, 2),
        ([], 1),
    ],
)
def test_an_error_body_is_compared_with_its_documentation(body: object, num_faults: int) -> None:
    assert len(check_refusal(Refusal(422, "validation", {"n": 0}, "n"), body, 100)) == num_faults


def test_an_endless_list_of_faults_is_a_fault() -> None:
    body = {"error": "a", "error_type": "validation", "request_id": "1"}
    assert not check_refusal(Refusal(422, "validation"), body, MAX_ANSWER_BYTES)
    assert "65,537 bytes" in check_refusal(Refusal(422, "validation"), body, MAX_ANSWER_BYTES + 1)[0]
