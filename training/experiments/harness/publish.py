"""Writes an outcome to files: a table with the facts of its run, a figure, and its section on the page of results."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from service.errors import UnrollError
from training.experiments.harness.drawing import draw
from training.experiments.harness.outcome import Outcome

PAGE = "README.md"


@dataclass(frozen=True)
class Facts:
    """The facts of a run that are needed to reproduce it."""

    name: str
    settings: Any
    quick: bool
    cpu_s: float

    def markdown(self) -> str:
        """One line: the command, the time, the machine, the settings."""
        command = f"unroll experiment {self.name}{' --quick' if self.quick else ''}"
        took = f"{self.cpu_s / 60:.1f} minutes" if self.cpu_s >= 60 else f"{self.cpu_s:.1f} s"
        return f"`{command}`: {took} of one core ({machine()}, torch {torch.__version__}). {in_words(self.settings)}"


def in_words(settings: Any) -> str:
    """The settings as one sentence."""
    chosen = ", ".join(f"{key} {_plain(value)}" for key, value in dataclasses.asdict(settings).items())
    return f"Settings: {chosen}."


def _plain(value: Any) -> str:
    return " / ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def machine() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def publish(outcome: Outcome, facts: Facts, folder: Path) -> list[Path]:
    """Write `tables/NAME.md` and `figures/NAME.svg` under `folder`, and update their section of the page there.

    Returns:
        The files that were written.
    """
    figure, table = folder / "figures" / f"{facts.name}.svg", folder / "tables" / f"{facts.name}.md"
    draw(outcome.panels, figure)
    text = "\n\n".join([*(each.markdown() for each in outcome.tables), facts.markdown()]) + "\n"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(text, encoding="utf-8")
    page = folder / PAGE
    if not page.is_file() or begin(facts.name) not in page.read_text(encoding="utf-8"):
        return [table, figure]
    page.write_text(with_section(page.read_text(encoding="utf-8"), facts.name, text), encoding="utf-8")
    return [table, figure, page]


def begin(name: str) -> str:
    """The marker before an experiment's section of the page."""
    return f"<!-- begin {name} -->"


def end(name: str) -> str:
    """The marker after an experiment's section of the page."""
    return f"<!-- end {name} -->"


def with_section(page: str, name: str, text: str) -> str:
    """The page with `text` as the section of this experiment.

    Raises:
        UnrollError: a marker is missing, or they are in the wrong order.
    """
    before, opened, rest = page.partition(begin(name))
    _, closed, after = rest.partition(end(name))
    if not opened or not closed:
        raise UnrollError(f"{PAGE}: {begin(name)} and {end(name)} must stand there once each, in this order")
    return f"{before}{opened}\n{text.strip()}\n{closed}{after}"
