"""Folders with line-aligned `seq.in`, `seq.out` and `label` files, as slot-filling sets are published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.data.formats.faults import Report
from training.data.formats.lines import read_lines


def read_aligned(folder: Path, first: str, second: str, report: Report) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number and the two lines, for each line that is not blank in both files."""
    paths = find_part(folder, first), find_part(folder, second)
    yield from aligned_lines(paths[0], paths[1], report)


def aligned_lines(first: Path, second: Path, report: Report) -> Iterator[tuple[int, tuple[str, str]]]:
    """Pairs of lines with their number. Blank in one file only is a fault, and so is a different number of lines."""
    left, right = read_lines(first, report), read_lines(second, report)
    if len(left) != len(right):
        counts = f"{len(right)} lines, but {first} has {len(left)}"
        report.fault(second, min(len(left), len(right)) + 1, counts, "line n of one belongs to line n of the other")
    for number, pair in enumerate(zip(left, right, strict=False), start=1):
        blank = [not line.strip() for line in pair]
        if all(blank):
            continue
        if any(blank):
            report.fault((first, second)[blank.index(True)], number, "the line is empty, the other file's line is not")
            continue
        yield number, pair


def find_part(folder: Path, name: str) -> Path:
    """`name` in the folder, or `name.gz` where only that is there."""
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name
