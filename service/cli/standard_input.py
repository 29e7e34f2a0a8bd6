"""Lines of standard input, for commands that take texts."""

from __future__ import annotations

import sys

from service.cli.plain_errors import fail


def lines_of_standard_input() -> list[str]:
    """The lines without their ends; ends the command if there is no text."""
    if sys.stdin.isatty():
        fail("give a TEXT argument, or lines on standard input")
    try:
        lines = [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        fail(f"standard input is no text in UTF-8: {error.reason}")
    lines[:1] = [line.removeprefix("\ufeff") for line in lines[:1]]
    return lines if any(map(str.strip, lines)) else fail("there is no text on standard input")
