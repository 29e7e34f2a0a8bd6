"""The load report of `make verify-deploy` distinguishes lost requests from refused ones during a shutdown."""

from __future__ import annotations

import time

import pytest

from deploy.verify.http_client import Answer, Cut, Refused
from deploy.verify.load import LoadReport

BEFORE_S = 0.0
STOPPING = Refused(Answer(503, b'{"error_type":"not_ready"}'))


@pytest.mark.parametrize("reason", [ConnectionRefusedError("no one there"), ConnectionResetError("closed"), STOPPING])
def test_once_the_stop_is_asked_for_a_caller_may_be_refused(reason: OSError) -> None:
    report = LoadReport()
    report.note_stop()
    report.failed("verify-1", time.monotonic(), reason)
    assert report.refused_ids == ["verify-1"]
    assert not report.lost


@pytest.mark.parametrize("reason", [Cut("half an answer"), TimeoutError("no answer"), Refused(Answer(500, b"broken"))])
def test_what_breaks_off_or_goes_wrong_is_lost_at_any_time(reason: OSError) -> None:
    report = LoadReport()
    report.note_stop()
    report.failed("verify-1", time.monotonic(), reason)
    assert len(report.lost) == 1


@pytest.mark.parametrize("reason", [ConnectionRefusedError("no one there"), STOPPING])
def test_before_the_stop_no_request_may_be_refused(reason: OSError) -> None:
    report = LoadReport()
    report.failed("verify-1", BEFORE_S, reason)
    report.note_stop()
    report.failed("verify-2", BEFORE_S, reason)
    assert len(report.lost) == 2


def test_answers_after_the_stop_are_counted_apart() -> None:
    """Answers after the stop are counted separately, to show that requests were in flight at that time."""
    report = LoadReport()
    report.answered(is_stream=False)
    report.note_stop()
    report.answered(is_stream=True)
    assert (report.num_answered, report.num_streams, report.num_answered_late) == (1, 1, 1)
