"""A checked tally compares every answer with the known one, and counts the tokens of its questions."""

from __future__ import annotations

import json

import pytest

from service.cli.bench.load.connection import Reply
from tests.load.client.checked_tally import CheckedTally
from tests.load.workload.dialects import Question

QUESTIONS = [Question(b"", [1, 2, 3], 3), Question(b"", [4], 1)]


def tally() -> CheckedTally:
    return CheckedTally(QUESTIONS, lambda answer: answer["labels"])


def reply(labels: object, latency_s: float = 0.1) -> Reply:
    return Reply(200, json.dumps({"labels": labels}).encode(), latency_s, False)


def test_right_answers_are_counted_with_their_tokens() -> None:
    counted = tally()
    counted.note(0, reply([1, 2, 3], latency_s=0.2), counts=True)
    counted.note(1, reply([4], latency_s=0.4), counts=True)
    found = counted.summary(seconds=2)
    assert (found["rate"], found["tokens_per_s"], found["wrong"], found["checked"]) == (1.0, 2.0, 0, 2)
    assert (found["p50_ms"], found["max_ms"]) == (200.0, 400.0)


@pytest.mark.parametrize("labels", [[1, 2, 9], [1, 2], "none", None])
def test_another_answer_than_the_right_one_is_wrong(labels: object) -> None:
    """A wrong answer is counted as wrong, also during warm-up."""
    counted = tally()
    counted.note(0, reply(labels), counts=False)
    assert counted.summary(1)["wrong"] == 1
    assert counted.summary(1)["wrong_samples"]


def test_an_answer_that_is_no_json_is_wrong() -> None:
    counted = tally()
    counted.note(0, Reply(200, b"<html>", 0.1, False), counts=True)
    assert counted.wrong == 1


def test_agreement_is_the_share_of_equal_labels() -> None:
    counted = tally()
    counted.note(0, reply([1, 2, 9]), counts=True)
    counted.note(1, reply([4]), counts=True)
    assert counted.summary(1)["agreement"] == 0.75
