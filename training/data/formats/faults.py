"""What can be wrong with data, and what happens then: stop at the first fault, or note them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from service.errors import UnrollError


class DataFault(UnrollError):
    """One thing wrong in a data file. `line` counts from 1 and is None when the file as a whole is at fault."""

    def __init__(self, path: Path, line: int | None, what: str, allowed: str = "") -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {what}" + (f"; {allowed}" if allowed else ""))
        self.path = path
        self.line = line
        self.what = what
        self.allowed = allowed


class DatasetUnavailable(UnrollError):
    """A data set by name cannot be had. The message says which file to put into which folder."""


@dataclass
class Report:
    """Where readers put what they find.

    A fault makes a record unusable: a strict report raises it, a tolerant one keeps it and the reader leaves the record
    out. A warning is something odd that the reader could mend, such as a span that starts with an inside tag.
    """

    strict: bool = True
    faults: list[DataFault] = field(default_factory=list)
    warnings: list[DataFault] = field(default_factory=list)

    def fault(self, path: Path, line: int | None, what: str, allowed: str = "") -> None:
        """Note a fault. Raises DataFault when strict."""
        found = DataFault(path, line, what, allowed)
        if self.strict:
            raise found
        self.faults.append(found)

    def warn(self, path: Path, line: int | None, what: str) -> None:
        """Note something odd that does not stop anyone."""
        self.warnings.append(DataFault(path, line, what))
