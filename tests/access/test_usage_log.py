"""The files of usage: complete lines, a file a day, and nothing lost when the disk is full."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from service.access.usage import UsageLedger
from service.access.usage_log import UsageLog

NOON_S = 1_800_014_400.0  # 2027-01-15, 12:00 UTC


class Clock:
    now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> UsageLedger:
    return UsageLedger()


@pytest.fixture
def log(tmp_path: Path, ledger: UsageLedger, clock: Clock) -> UsageLog:
    return UsageLog(tmp_path / "usage", ledger, clock, "host")


def use(ledger: UsageLedger, key: str, model: str, tokens: int) -> None:
    counter = ledger.of(key, model)
    counter.requests += 1
    counter.read_tokens += tokens
    counter.compute_s += 0.5


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("usage/*")) for line in path.read_text().splitlines()]


def test_only_what_is_new_is_written(log: UsageLog, ledger: UsageLedger, clock: Clock, tmp_path: Path) -> None:
    use(ledger, "a", "m", 3)
    assert log.write()
    clock.now_s += 60
    use(ledger, "a", "m", 4)
    use(ledger, "b", "m", 5)
    assert log.write()
    assert log.write()
    first, *others = lines_of(tmp_path)
    assert first == {
        "from": "2027-01-15T12:00:00Z", "to": "2027-01-15T12:00:00Z", "host": "host", "key": "a", "model": "m",
        "requests": 1, "read_tokens": 3, "written_tokens": 0, "compute_s": 0.5,
    }  # fmt: skip
    assert [(line["key"], line["read_tokens"], line["from"][11:16], line["to"][11:16]) for line in others] == [
        ("a", 4, "12:00", "12:01"),
        ("b", 5, "12:00", "12:01"),
    ]


def test_each_day_has_its_file(log: UsageLog, ledger: UsageLedger, clock: Clock, tmp_path: Path) -> None:
    for _ in range(2):
        use(ledger, "a", "m", 1)
        log.write()
        clock.now_s += 24 * 3600
    names = [path.name for path in sorted((tmp_path / "usage").iterdir())]
    assert names == ["usage-2027-01-15.host.jsonl", "usage-2027-01-16.host.jsonl"]


def test_it_is_written_before_an_hour_ends(log: UsageLog, clock: Clock) -> None:
    assert log.seconds_until_due(60.0) == 60.0
    clock.now_s += 3590
    assert log.seconds_until_due(60.0) < 10.0


def test_a_line_that_was_cut_off_does_not_spoil_the_next(log: UsageLog, ledger: UsageLedger, tmp_path: Path) -> None:
    use(ledger, "a", "m", 1)
    log.write()
    (path,) = (tmp_path / "usage").iterdir()
    with path.open("a") as file:
        file.write('{"from": "2027')
    use(ledger, "a", "m", 2)
    log.write()
    first, cut, last = path.read_text().splitlines()
    assert (json.loads(first)["read_tokens"], json.loads(last)["read_tokens"], cut) == (1, 2, '{"from": "2027')


@pytest.mark.parametrize("fault", ["full", "short write", "no folder", "fsync"])
def test_what_cannot_be_written_is_kept_for_the_next_time(
    log: UsageLog, ledger: UsageLedger, tmp_path: Path, fault: str
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    write = os.write
    use(ledger, "a", "m", 1)
    with pytest.MonkeyPatch.context() as patch:
        if fault == "full":
            patch.setattr("service.access.usage_log.os.write", full)
        elif fault == "short write":
            patch.setattr("service.access.usage_log.os.write", lambda file, data: write(file, data[:10]))
        elif fault == "fsync":
            patch.setattr("service.access.usage_log.os.fsync", full)
        else:
            (tmp_path / "usage").write_text("a file where the folder should be")
        assert not log.write()
        assert not log.write()
    assert log.num_failures == 2
    if fault == "no folder":
        (tmp_path / "usage").unlink()
    use(ledger, "a", "m", 2)
    assert log.write()
    assert [line["read_tokens"] for line in lines_of(tmp_path)] == [3]
