"""Lines of the server's log that say that something went wrong."""

from __future__ import annotations

import json
from pathlib import Path

_ERRORS = ("error", "critical", "fatal")
_KEPT = 5
_MAX_CHARACTERS = 400


class ServerLog:
    """Reads on where it stopped. A line that is no JSON counts as an error: the logger has not written it."""

    def __init__(self, path: Path, expected: str = "") -> None:
        """Error lines with the text `expected` are no errors: the test has caused them."""
        self._path = path
        self._expected = expected
        self._position = 0
        self.num_lines = 0
        self.num_errors = 0
        self.shown: list[str] = []

    def read_on(self) -> None:
        """Count the lines that were completed since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                self._note(line.decode("utf-8", "replace").strip())

    def _note(self, line: str) -> None:
        self.num_lines += bool(line)
        is_expected = bool(self._expected) and self._expected in line
        if line and _is_error(line) and not is_expected:
            self.num_errors += 1
            if len(self.shown) < _KEPT:
                self.shown.append(line[:_MAX_CHARACTERS])


def _is_error(line: str) -> bool:
    try:
        return str(json.loads(line)["level"]).lower() in _ERRORS
    except (ValueError, LookupError, TypeError):
        return True
