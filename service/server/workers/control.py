"""The control channel between workers: one Unix socket each, one question and one answer a connection, as JSON.

Both sides end what they write by closing that half of the connection. An error is told by its sentence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from service.errors import UnrollError

logger = logging.getLogger(__name__)

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024


class ControlFailed(Exception):
    """A worker did not do what it was asked for; the message says why."""


class ControlServer:
    """Answers the other workers. Use it in the event loop."""

    def __init__(self, folder: Path, index: int, handlers: Mapping[str, Handler]) -> None:
        self._path = control_path(folder, index)
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)  # of the process that was here before
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for answering in self._answering:
            answering.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = asyncio.create_task(self._answer(reader, writer))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            data = await _read_all(reader)
            if not data:  # whoever asks has ended, or does not wait any more
                writer.close()
                return
            question = from_json(data)
            handler = self._handlers[question["command"]]
            answer = {"answer": await handler(question["arguments"])}
        except UnrollError as error:
            answer = {"error": str(error)}
        except Exception as error:
            logger.exception("a command of another worker failed")
            answer = {"error": type(error).__name__}
        with suppress(OSError):
            writer.write(to_json(answer, fallback=str))
            await writer.drain()
        writer.close()


async def ask_worker(folder: Path, index: int, command: str, arguments: Mapping[str, Any]) -> Any:
    """The answer of a worker.

    Raises:
        OSError: it does not listen.
        ControlFailed: it could not do it, or ended meanwhile.
    """
    reader, writer = await asyncio.open_unix_connection(control_path(folder, index))
    try:
        writer.write(to_json({"command": command, "arguments": arguments}))
        writer.write_eof()
        data = await _read_all(reader)
    except OSError as error:
        raise ControlFailed(f"it has ended: {error.strerror or error}") from error
    finally:
        writer.close()
    if not data:
        raise ControlFailed("it has ended")
    answer = from_json(data)
    if "error" in answer:
        raise ControlFailed(answer["error"])
    return answer["answer"]


def control_path(folder: Path, index: int) -> Path:
    """The socket of a worker."""
    return folder / f"control-{index}"


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    pieces, num_bytes = [], 0
    while piece := await reader.read(_READ_BYTES):
        pieces.append(piece)
        num_bytes += len(piece)
        if num_bytes > _MAX_MESSAGE_BYTES:
            raise ControlFailed("a message is too long")
    return b"".join(pieces)
