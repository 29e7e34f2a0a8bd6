"""Write the folder of an error analysis: `README.md` is its first page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.evaluation.analysis.confusion import Confusion
from training.evaluation.analysis.errors import ErrorCase, kinds
from training.evaluation.analysis.findings import AttentionPicture, Findings, Table

#: Kinds of errors on the page, and examples of each; `errors.csv` has all.
NUM_KINDS, NUM_EXAMPLES = 15, 3
NUM_CONFUSIONS: Final = 15
NUM_ROWS: Final = 40
NUM_PICTURES: Final = 6
MAX_TEXT_CHARACTERS: Final = 160


def write_analysis(folder: Path, name: str, findings: Findings | None) -> Path | None:
    """Write the folder and return its first page; None for a task without right and wrong answers."""
    if findings is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.csv")):
        old.unlink()
    sections = [
        _summary(findings),
        *map(_table, findings.tables),
        _confusion(folder, findings.confusions),
        _errors(findings.cases),
        _attention(folder, findings.attention),
    ]
    _write_errors(folder / "errors.csv", findings.cases)
    page = folder / "README.md"
    body = "\n\n".join(section for section in sections if section)
    page.write_text(f"# What {name} gets wrong\n\n{body}\n", encoding="utf-8")
    return page


def _summary(findings: Findings) -> str:
    counts = f"{findings.num_records:,} records, {len(findings.cases):,} errors"
    return f"{counts}; all of them are in [errors.csv](errors.csv)."


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (table.header, *table.rows[:NUM_ROWS])]
    rest = len(table.rows) - NUM_ROWS
    end = [f"\nand {rest:,} more"] if rest > 0 else []
    return "\n".join([f"## {table.title}\n", lines[0], "|---" * len(table.header) + "|", *lines[1:], *end])


def _confusion(folder: Path, pairs: Sequence[tuple[str, str]]) -> str:
    confusion = Confusion.of(pairs)
    if not confusion.labels:
        return ""
    confusion.write_table(folder / "confusion.csv")
    confusion.draw(folder / "confusion.png")
    rows = [
        f"| {_cell(gold)} | {_cell(predicted)} | {count} |"
        for gold, predicted, count in confusion.mistakes()[:NUM_CONFUSIONS]
    ]
    table = ["| gold | predicted | times |", "|---|---|---|", *rows]
    return "\n\n".join(
        (
            "## What is taken for what",
            "![confusion matrix](confusion.png)",
            "\n".join(table) if rows else "Nothing was confused.",
            "Counts of all labels: [confusion.csv](confusion.csv).",
        )
    )


def _errors(cases: Sequence[ErrorCase]) -> str:
    lines = []
    for kind, count in kinds(cases)[:NUM_KINDS]:
        lines.append(f"- **{_cell(kind)}**: {count}")
        examples = [case for case in cases if case.kind == kind][:NUM_EXAMPLES]
        lines += [f"  - {_clipped(e.text)}: {_clipped(e.predicted)}, not {_clipped(e.gold)}" for e in examples]
    return "\n\n".join(("## Errors by kind", "\n".join(lines) if lines else "There are none."))


def _attention(folder: Path, pictures: Sequence[AttentionPicture]) -> str:
    parts = []
    for number, picture in enumerate(pictures[:NUM_PICTURES], start=1):
        picture.draw(folder / f"attention-{number}.png")
        parts.append(f"{_clipped(picture.title)}\n\n![attention](attention-{number}.png)")
    return "\n\n".join(("## Where it looked", *parts)) if parts else ""


def _write_errors(path: Path, cases: Sequence[ErrorCase]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ErrorCase._fields)
        writer.writerows(cases)


def _clipped(text: str) -> str:
    """A text on one line, shortened, with Markdown escaped."""
    line = " ".join(text.split())
    return _cell(line if len(line) <= MAX_TEXT_CHARACTERS else f"{line[:MAX_TEXT_CHARACTERS]} ...")


def _cell(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\|*_`<[" else sign for sign in text)
