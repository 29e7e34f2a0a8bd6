"""Write the table of values in the README of the Helm chart, from the comments and defaults of `values.yaml`.

Run it after a change of the values: `python -m deploy.helm.values_table`. The comment of a value begins with `# -- `,
as helm-docs has it, and may go on in the lines below. A value with a comment is one row, with all that is in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "unroll"
README = CHART / "README.md"
_BEGIN, _END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
_KEY = re.compile(r"^( *)([A-Za-z_]+):")
_LONG = 60


@dataclass(frozen=True)
class Value:
    """A documented value: its path with dots, the comment above it, and its default."""

    path: str
    comment: str
    default: Any


def documented_values(chart: Path = CHART) -> list[Value]:
    """The values with a comment, in the order of the file."""
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    return [Value(path, comment, _at(defaults, path)) for path, comment in _comments(text.splitlines())]


def table(values: list[Value]) -> str:
    """The rows, in Markdown."""
    rows = [f"| `{value.path}` | {_shown(value.default)} | {value.comment} |\n" for value in values]
    return "| value | default | meaning |\n|---|---|---|\n" + "".join(rows)


def readme_with(rows: str, text: str) -> str:
    """The README with the table in its place.

    Raises:
        ValueError: The marks around the table are missing.
    """
    before, begun, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not (begun and ended):
        raise ValueError(f"{README} lacks the lines {_BEGIN.strip()} and {_END.strip()}")
    return before + _BEGIN + rows + _END + after


def _comments(lines: list[str]) -> Iterator[tuple[str, str]]:
    way: list[tuple[int, str]] = []  # the keys that lead to the line, with their indentation
    comment: list[str] = []
    for line in lines:
        if line.lstrip().startswith("# -- "):
            comment = [line.lstrip()[5:].strip()]
        elif line.lstrip().startswith("# ") and comment:
            comment.append(line.lstrip()[2:].strip())
        elif found := _KEY.match(line):
            indentation = len(found[1])
            way = [*(step for step in way if step[0] < indentation), (indentation, found[2])]
            if comment:
                yield ".".join(name for _, name in way), " ".join(comment)
            comment = []


def _at(defaults: Any, path: str) -> Any:
    for step in path.split("."):
        defaults = defaults[step]
    return defaults


def _shown(default: Any) -> str:
    if default == "":
        return "empty"
    written = default if isinstance(default, str) else json.dumps(default)
    return f"`{written}`" if len(written) <= _LONG else "see `values.yaml`"


if __name__ == "__main__":
    README.write_text(readme_with(table(documented_values()), README.read_text(encoding="utf-8")), encoding="utf-8")
