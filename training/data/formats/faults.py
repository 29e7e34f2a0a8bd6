"""Faults in data files: raised at the first one, or collected in a report with what was understood of each file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from service.errors import UnrollError


class DataFault(UnrollError):
    """Fault in a data file. `line` counts from 1, and is None if the file as a whole is faulty."""

    def __init__(self, path: Path, line: int | None, what: str, allowed: str = "") -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {what}" + (f"; {allowed}" if allowed else ""))
        self.path = path
        self.line = line
        self.what = what
        self.allowed = allowed


class DatasetUnavailable(UnrollError):
    """Public data set that cannot be found or downloaded. The message says which file to put into which folder."""


#: What was understood of a file, such as `{"separator": "tabs", "text": "`v2`"}`.
Facts = dict[str, str]


@dataclass
class Report:
    """Faults and warnings found by a reader, and what it understood of each file.

    A fault makes a record unusable: a strict report raises it; a tolerant one collects it, and the reader skips the
    record. A warning is an irregularity that the reader corrects, such as a span that starts with an inside tag, or a
    choice that the user may want to correct.
    """

    strict: bool = True
    faults: list[DataFault] = field(default_factory=list)
    warnings: list[DataFault] = field(default_factory=list)
    understood: dict[str, Facts] = field(default_factory=dict)

    def fault(self, path: Path, line: int | None, what: str, allowed: str = "") -> None:
        """Add a fault. Raises it as DataFault if the report is strict."""
        found = DataFault(path, line, what, allowed)
        if self.strict:
            raise found
        self.faults.append(found)

    def warn(self, path: Path, line: int | None, what: str, allowed: str = "") -> None:
        """Add a warning. The record is kept."""
        self.warnings.append(DataFault(path, line, what, allowed))

    def facts(self, path: Path) -> Facts:
        """What was understood of a file: the reader adds to it."""
        return self.understood.setdefault(str(path), {})
