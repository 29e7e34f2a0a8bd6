"""Release metadata is consistent."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_newest_in_the_changelog(project: dict[str, Any]) -> None:
    """The project version equals the first version heading (`## [1.2.3]` or `## 1.2.3`) of the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"]


def test_every_entry_point_leads_somewhere(project: dict[str, Any]) -> None:
    """Every declared entry point resolves to an object."""
    groups = [project["scripts"], *project["entry-points"].values()]
    for target in (target for group in groups for target in group.values()):
        module, name = target.split(":")
        assert callable(getattr(importlib.import_module(module), name)), target
