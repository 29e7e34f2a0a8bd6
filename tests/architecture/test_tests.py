"""Every test can fail: it asserts something, directly or through a helper in its file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Calls that can fail a test, in addition to every name that starts with `assert`.
FAILING_CALLS = {"deprecated_call", "expect", "fail", "raises", "raise_for_status", "warns"}


def functions_of(tree: ast.AST) -> list[Function]:
    """Return the functions and methods of a file, nested ones included."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def called_names(function: Function) -> Iterator[str]:
    """Return the last component of the name of every call in a function."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


def can_fail(function: Function, helpers_that_can: set[str]) -> bool:
    """Return whether a function asserts, calls an assertion, or calls a helper that can fail."""
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
        return True
    return any(
        name in FAILING_CALLS or name in helpers_that_can or name.lstrip("_").startswith("assert")
        for name in called_names(function)
    )


def toothless_tests(source: str) -> list[str]:
    """Return the names of the test functions in `source` that assert nothing, directly or through helpers."""
    functions = functions_of(ast.parse(source))
    able: set[str] = set()
    while grown := {function.name for function in functions if can_fail(function, able)} - able:
        able |= grown
    return [function.name for function in functions if function.name.startswith("test_") and function.name not in able]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_every_test_can_fail(path: Path) -> None:
    assert toothless_tests(path.read_text(encoding="utf-8")) == []


def test_a_test_without_an_assertion_is_noticed() -> None:
    source = "def helper(): assert 1\ndef test_a(): helper()\ndef test_b(): print(1)\n"
    assert toothless_tests(source) == ["test_b"]
