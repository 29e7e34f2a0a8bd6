"""Log lines are JSON objects with structured fields and without request content."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from service.errors import BundleCorrupt
from service.observability.json_logs import JsonFormatter, request_fields_var


def line(record: logging.LogRecord, shows_texts: bool = False) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(JsonFormatter(shows_texts).format(record))
    return parsed


def raised(error: Exception, cause: Exception | None = None) -> logging.LogRecord:
    """Return the log record of an error that has just been raised."""
    try:
        raise error from cause
    except Exception:
        return logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()})


def test_a_line_has_time_level_message_and_extra_fields() -> None:
    record = logging.makeLogRecord({"name": "a.b", "levelname": "INFO", "msg": "x %s", "args": (1,), "model": "pos-en"})
    written = line(record)
    assert written["message"] == "x 1"
    assert (written["level"], written["logger"], written["model"]) == ("info", "a.b", "pos-en")
    assert str(written["time"]).endswith("+00:00")
    assert "request_id" not in written


def test_a_line_within_a_request_has_its_id_and_its_trace() -> None:
    token = request_fields_var.set({"request_id": "abc", "trace_id": "4b"})
    try:
        written = line(logging.makeLogRecord({"msg": "x"}))
        assert (written["request_id"], written["trace_id"]) == ("abc", "4b")
    finally:
        request_fields_var.reset(token)


def test_an_exception_stays_on_one_line_and_says_where_and_of_which_kind() -> None:
    formatted = JsonFormatter().format(raised(ValueError("broken")))
    assert "\n" not in formatted
    exception = json.loads(formatted)["exception"]
    assert exception.startswith("Traceback")
    assert "test_json_logs.py" in exception
    assert exception.endswith("\nValueError")


def test_what_an_exception_and_its_cause_say_is_left_out() -> None:
    """Messages of an exception and its cause are omitted, as they may quote request content; both types are logged."""
    exception = str(line(raised(KeyError("my secret"), ValueError("a secret too")))["exception"])
    assert "secret" not in exception.replace('"my secret"', "").replace('"a secret too"', "")
    assert exception.index("ValueError") < exception.index("KeyError")


def test_what_an_exception_says_is_shown_where_texts_may_be_logged() -> None:
    assert "ValueError: broken" in str(line(raised(ValueError("broken")), shows_texts=True)["exception"])


def test_an_error_of_files_keeps_its_words() -> None:
    """Messages of file errors are logged, as they never quote request content."""
    written = line(raised(BundleCorrupt(Path("m/1"), "its sha256 differs"), OSError(5, "read failed")))
    assert "m/1: its sha256 differs" in str(written["exception"])
    assert "read failed" in str(written["exception"])
