"""SECURITY.md names a test for every threat, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def rows() -> list[list[str]]:
    """The cells of the table of threats."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("| asset | threat | defence | test |")[2]
    table = page.partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def named_in(path: str) -> set[str]:
    """The names of the tests in a file, those in classes as `Class::test`."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in tree.body if isinstance(node, functions)}
    for group in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found |= {f"{group.name}::{node.name}" for node in group.body if isinstance(node, functions)}
    return found


def test_every_threat_has_a_defence_and_a_test() -> None:
    assert len(rows()) > 20
    assert not [row for row in rows() if len(row) != 4 or not row[1] or not row[2] or not NAMED.search(row[3])]


@pytest.mark.parametrize("threat", [row[1] for row in rows()])
def test_every_named_test_exists(threat: str) -> None:
    named = [match for row in rows() if row[1] == threat for match in NAMED.findall(row[3])]
    assert not [(path, name) for path, name in named if not (ROOT / path).exists() or name not in named_in(path)]
