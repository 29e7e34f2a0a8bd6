"""Log lines are JSON objects with what a machine looks for."""

from __future__ import annotations

import json
import logging
import sys

from service.log_config import JsonFormatter, request_id_var


def line(record: logging.LogRecord) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(JsonFormatter().format(record))
    return parsed


def test_a_line_has_time_level_message_and_extra_fields() -> None:
    record = logging.makeLogRecord({"name": "a.b", "levelname": "INFO", "msg": "x %s", "args": (1,), "model": "pos-en"})
    written = line(record)
    assert written["message"] == "x 1"
    assert (written["level"], written["logger"], written["model"]) == ("info", "a.b", "pos-en")
    assert str(written["time"]).endswith("+00:00")
    assert "request_id" not in written


def test_a_line_within_a_request_has_its_id() -> None:
    token = request_id_var.set("abc")
    try:
        assert line(logging.makeLogRecord({"msg": "x"}))["request_id"] == "abc"
    finally:
        request_id_var.reset(token)


def test_a_line_keeps_the_trace_of_an_exception_on_one_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        formatted = JsonFormatter().format(logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()}))
    assert "\n" not in formatted
    assert "ValueError: broken" in json.loads(formatted)["exception"]
