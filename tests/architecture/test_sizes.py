"""Files and functions stay within their size limits."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINES_OF_FILE = 400
MAX_LINES_OF_FUNCTION = 60
MAX_MODULES_OF_FOLDER = 13
SOURCES = sorted(path for package in ("deploy", "service", "training") for path in (ROOT / package).rglob("*.py"))


def test_no_file_is_too_long() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert lengths, "no sources were found"
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES_OF_FILE}


def test_no_function_is_too_long() -> None:
    """No function body, docstring included, exceeds the limit; signatures do not count."""
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.body[0].lineno + 1 > MAX_LINES_OF_FUNCTION
    ]
    assert not too_long


def test_no_folder_has_too_many_modules() -> None:
    """Python modules but `__init__.py`, in the packages and in the tests."""
    modules = [
        path for package in ("deploy", "service", "tests", "training") for path in (ROOT / package).rglob("*.py")
    ]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules if path.name != "__init__.py")
    assert folders, "no modules were found"
    assert not {name: count for name, count in folders.items() if count > MAX_MODULES_OF_FOLDER}
