"""Errors of commands: one sentence on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from service.errors import InvalidInput, UnrollError


def fail(message: str) -> NoReturn:
    """End the command with a message."""
    print(f"unroll: {message}", file=sys.stderr)
    raise typer.Exit(2)


class plain_errors:  # noqa: N801 - reads as a statement: `with plain_errors():`
    """Reports an UnrollError, or a file that cannot be read or written, in one sentence and ends the command."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BrokenPipeError):
            return  # the reader of the output has left
        if isinstance(error, UnrollError):
            field = error.field if isinstance(error, InvalidInput) else ()
            where = f"{'.'.join(map(str, field))}: " if field else ""
            fail(where + str(error))
        if isinstance(error, OSError) and error.filename is not None:
            fail(f"{error.filename}: {error.strerror}")
