"""Folders with line-aligned files `seq.in`, `seq.out` and `label`, the usual layout of slot-filling data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.data.formats.faults import Report
from training.data.formats.lines import read_lines


def read_aligned(folder: Path, first: str, second: str, report: Report) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the line number and both lines, for each line that is not blank in both files."""
    paths = find_part(folder, first), find_part(folder, second)
    yield from aligned_lines(paths[0], paths[1], report)


def aligned_lines(
    first: Path, second: Path, report: Report, encoding: str | None = None
) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield pairs of lines with their number. A line that is blank in one file only, or missing there, is a fault."""
    left, right = read_lines(first, report, encoding), read_lines(second, report, encoding)
    if len(left) != len(right):
        counts = f"{len(right)} lines, but {first} has {len(left)}"
        report.fault(second, min(len(left), len(right)) + 1, counts, "lines of both files belong together")
    for number, pair in enumerate(zip(left, right, strict=False), start=1):
        blank = [not line.strip() for line in pair]
        if all(blank):
            continue
        if any(blank):
            report.fault((first, second)[blank.index(True)], number, "the line is empty, but not in the other file")
            continue
        yield number, pair


def find_part(folder: Path, name: str) -> Path:
    """Path of `name` in the folder, or of `name.gz` if only that exists."""
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name
