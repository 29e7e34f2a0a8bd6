"""Logs as one JSON object per line. Inputs of clients are not logged.

Messages of exceptions may quote an input, so a line has only the class of an exception and its stack. With
`UNROLL_LOG_TEXTS`, inputs and messages are logged too.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, TextIO

from pydantic_core import to_json

from service.errors import BundleError, InferenceFailed

#: Fields of every line that is written while a request is answered: its id, and its trace if it has one.
request_fields_var: ContextVar[Mapping[str, str]] = ContextVar("request_fields", default=MappingProxyType({}))

#: Attributes of every LogRecord; any other comes from `extra=` and is logged.
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


#: Errors about files, memory and graphs, whose messages never quote an input.
_HARMLESS = (BundleError, ImportError, InferenceFailed, MemoryError, OSError)

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, message, request_id and trace_id if there are any, and the record's `extra` fields."""

    def __init__(self, shows_texts: bool = False) -> None:
        """With `shows_texts`, messages of exceptions are logged too."""
        super().__init__()
        self._shows_texts = shows_texts

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json_line(record.created, record.levelname.lower(), record.name, record.getMessage(), fields)

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 - the library's name
        """Stack and class of an exception and of its causes."""
        if self._shows_texts or ei[1] is None:
            return super().formatException(ei)
        return "\n".join(_without_texts(ei[1]))


def json_line(time_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
    """One line; `time_s` is seconds since 1970."""
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": message,
        **request_fields_var.get(),
        **fields,
    }
    return to_json(line, fallback=str, inf_nan_mode="constants").decode("utf-8")


def _without_texts(error: BaseException) -> Iterator[str]:
    """Lines for an exception, its causes first; only messages of harmless ones are quoted."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for link in reversed(chain):
        yield "Traceback (most recent call last):"
        yield from (line.rstrip("\n") for line in traceback.format_tb(link.__traceback__))
        name = type(link).__qualname__
        yield f"{name}: {link}" if isinstance(link, _HARMLESS) else name


class BatchedHandler(logging.StreamHandler[TextIO]):
    """Buffers lines: `flush` is called a few times a second, and at the end.

    A warning or error is written at once, with everything before it.
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
        """Buffer a formatted line."""
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


def configure_logging(level: str, shows_texts: bool = False) -> None:
    """Log everything to standard error as JSON; uvicorn's access log is replaced by ours."""
    # Do not collect what our lines never show: the logging library's own advice for speed.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = BatchedHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(shows_texts))
    atexit.register(handler.flush)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = name != "uvicorn.access"


def flush_logs() -> None:
    """Write the buffered lines."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def log_request(logger: logging.Logger, level: int, fields: Mapping[str, Any]) -> None:
    """Log one request; without a LogRecord if the handler is ours, because creating it costs most."""
    if not logger.isEnabledFor(level):
        return
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        name = logging.getLevelName(level).lower()
        handlers[0].add(json_line(time.time(), name, logger.name, "request", fields))
    else:
        logger.log(level, "request", extra=dict(fields))
