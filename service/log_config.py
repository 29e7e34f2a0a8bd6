"""Logs as one JSON object a line, for machines first. What a caller sent is never logged, only its measures."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json

#: The id of the request being answered, for log lines written on its behalf.
request_id_var: ContextVar[str] = ContextVar("request_id", default="")

#: What every LogRecord has; anything else came in through `extra=` and belongs in the line.
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, message, request_id if there is one, and the record's `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json_line(record.created, record.levelname.lower(), record.name, record.getMessage(), fields)


def json_line(time_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
    """One line; `time_s` is seconds since 1970."""
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": message,
    }
    if request_id := request_id_var.get():
        line["request_id"] = request_id
    return to_json({**line, **fields}, fallback=str, inf_nan_mode="constants").decode("utf-8")


class BatchedHandler(logging.StreamHandler[TextIO]):
    """Gathers lines and writes many at once: `flush` is called a few times a second, and at the end.

    A warning, or anything worse, is written at once with all that came before it.
    """

    _MAX_LINES = 100

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.add(self.format(record))
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:  # as every handler of the library does
            self.handleError(record)

    def add(self, line: str) -> None:
        """A line that is complete."""
        with self.lock or nullcontext():
            self._lines.append(line)
            if len(self._lines) >= self._MAX_LINES:
                self.flush()

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines and not self.stream.closed:
                self.stream.write("\n".join(lines) + "\n")
                super().flush()


def configure_logging(level: str) -> None:
    """Send every logger's lines to standard error as JSON; uvicorn's own access lines are replaced by ours."""
    # What our lines never show need not be found out for each of them: the library's own advice for speed.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = BatchedHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    atexit.register(handler.flush)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = name != "uvicorn.access"


def flush_logs() -> None:
    """Write what the handlers have gathered."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def log_request(logger: logging.Logger, level: int, fields: Mapping[str, Any]) -> None:
    """The line of one request; without the library's records where lines are ours, because those cost most."""
    if not logger.isEnabledFor(level):
        return
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        name = logging.getLevelName(level).lower()
        handlers[0].add(json_line(time.time(), name, logger.name, "request", fields))
    else:
        logger.log(level, "request", extra=dict(fields))
