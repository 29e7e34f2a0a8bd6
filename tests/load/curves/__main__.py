"""Measure how cost grows with length, vocabulary, bundles and sessions; write CURVES.md and its picture.

python -m tests.load.curves [--only sessions ...] [--most 10000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from tests.load.curves import kept, served
from tests.load.curves.point import Point
from tests.load.curves.report import draw, tables
from tests.load.machine import facts
from tests.load.places import LOAD

CURVES: dict[str, tuple[Callable[[tuple[int, ...]], Iterator[Point]], tuple[int, ...]]] = {
    "length": (served.lengths, served.LENGTHS),
    "vocabulary": (served.vocabularies, served.VOCABULARIES),
    "bundles": (served.bundles, served.BUNDLES),
    "sessions": (kept.sessions, kept.SESSIONS),
}


def main() -> None:
    """Print each point as it is measured. Only a run of everything is written to the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CURVES, help="default all; repeatable")
    parser.add_argument("--most", type=int, default=None, help="no larger sizes than this, for a first look")
    asked = parser.parse_args()
    groups: dict[str, list[Point]] = {}
    for name in asked.only or CURVES:
        measure, sizes = CURVES[name]
        groups[name] = []
        for point in measure(tuple(size for size in sizes if asked.most is None or size <= asked.most)):
            groups[name].append(point)
            print(f"{point.what:40}{point.size:>12,}{1e6 * point.seconds:>16,.0f} us{point.memory_mb:>10,.0f} MB")
    if asked.only is None and asked.most is None:
        draw(groups, LOAD / "curves.png")
        report = tables(groups, facts(), "python -m tests.load.curves")
        (LOAD / "CURVES.md").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
