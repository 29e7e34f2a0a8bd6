"""Logs as one JSON object per line. Inputs of clients are not logged.

Messages of exceptions may quote an input, so a line has only the class of an exception and its stack. With
`UNROLL_LOG_TEXTS`, inputs and messages are logged too.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any, TextIO, cast

from pydantic_core import PydanticSerializationError, to_json

from service.errors import BundleError, InferenceFailed
from service.observability.log_writer import LogWriter, keep_standard_error

#: Fields of every line that is written while a request is answered: its id, and its trace if it has one.
request_fields_var: ContextVar[Mapping[str, str]] = ContextVar("request_fields", default=MappingProxyType({}))

#: Attributes of every LogRecord; any other comes from `extra=` and is logged.
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


#: Of the lines about requests.
_LEVEL_NAMES = {logging.DEBUG: "debug", logging.INFO: "info"}

#: At the end, how long to wait for a log that is not read.
_FLUSH_S = 2.0
_MAX_PRINTED_CHARACTERS = 2000

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


@lru_cache(maxsize=2)
def _second(time_s: int) -> str:
    """A second since 1970 as a time in UTC, written once for all lines of it."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def json_line(time_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
    """One line; `time_s` is seconds since 1970."""
    return _line(time_s, level, logger, message, fields).decode("utf-8")


def _line(time_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> bytes:
    line: dict[str, Any] = {
        "time": f"{_second(int(time_s))}.{int(time_s % 1 * 1000):03d}+00:00",
        "level": level,
        "logger": logger,
        "message": message,
        **request_fields_var.get(),
        **fields,
    }
    try:
        return to_json(line, fallback=str, inf_nan_mode="constants")
    except PydanticSerializationError:  # half a surrogate pair, which a client can send, is no UTF-8
        return json.dumps(line, default=str, skipkeys=True).encode()


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


class QueueHandler(logging.Handler):
    """Formats records and hands them to a `LogWriter`. Never raises and never blocks."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.add(self.format(record), is_urgent=record.levelno >= logging.WARNING)
        except Exception as error:  # a line is never worth a request
            self.writer.drop(_unmade(error))


class LoggedStream(io.TextIOBase):
    """In place of standard output and error: what is printed becomes log lines, so that it cannot block either."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, begun = (self._begun + text).split("\n")
        self._begun = begun[-_MAX_PRINTED_CHARACTERS:]
        for line in lines:
            if line.strip():
                self._logger.warning("printed", extra={"text": line[:_MAX_PRINTED_CHARACTERS]})
        return len(text)


def configure_logging(level: str, shows_texts: bool = False) -> None:
    """Log everything to standard error as JSON, from a thread; uvicorn's access log is replaced by ours.

    Warnings of Python, and errors that end a thread, are log lines too.
    """
    # Do not collect what our lines never show: the logging library's own advice for speed.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    # Python found it closed at the start: its number may be that of a file which was opened since.
    is_closed = sys.stderr is None
    descriptor = os.open(os.devnull, os.O_WRONLY) if is_closed else keep_standard_error()
    handler = QueueHandler(LogWriter(descriptor, dropped_notice))
    handler.setFormatter(JsonFormatter(shows_texts))
    atexit.register(flush_logs)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    threading.excepthook = _log_ended_thread
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = name != "uvicorn.access"


@contextmanager
def printing_logged() -> Iterator[None]:
    """While a server runs, whatever prints writes log lines."""
    stream = cast(TextIO, LoggedStream(logging.getLogger("print")))
    with redirect_stdout(stream), redirect_stderr(stream):
        yield


def flush_logs(timeout_s: float = _FLUSH_S) -> None:
    """Wait until the queued lines are written, but not longer: nobody may be reading them."""
    for writer in _writers():
        writer.flush(timeout_s)


def num_dropped_lines() -> int:
    """Lines that could not be written, or not be made, since the start."""
    return sum(writer.num_dropped for writer in _writers())


def dropped_notice(num_lines: int, reason: str) -> str:
    """The line in place of lost ones."""
    fields = {"num_lines": num_lines, "reason": reason}
    return json_line(time.time(), "warning", __name__, "log lines were dropped", fields)


def log_request(logger: logging.Logger, level: int, fields: Mapping[str, Any]) -> None:
    """Log one request; without a LogRecord if the handler is ours, because creating it costs most."""
    if not logger.isEnabledFor(level):
        return
    handlers = logging.root.handlers
    if len(handlers) != 1 or not isinstance(handlers[0], QueueHandler):
        logger.log(level, "request", extra=dict(fields))
        return
    writer = handlers[0].writer
    try:
        writer.add(_line(time.time(), _LEVEL_NAMES[level], logger.name, "request", fields))
    except Exception as error:
        writer.drop(_unmade(error))


def _writers() -> list[LogWriter]:
    return [handler.writer for handler in logging.getLogger().handlers if isinstance(handler, QueueHandler)]


def _unmade(error: Exception) -> str:
    return f"a line could not be made: {type(error).__name__}"


def _log_ended_thread(ended: threading.ExceptHookArgs) -> None:
    """In place of a traceback on standard error."""
    if ended.exc_type is SystemExit or ended.exc_value is None:
        return
    name = ended.thread.name if ended.thread is not None else ""
    logging.getLogger(__name__).critical("a thread ended by an error", extra={"ended": name}, exc_info=ended.exc_value)
