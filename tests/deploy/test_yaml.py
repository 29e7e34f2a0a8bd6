"""YAML files contain no duplicate keys."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT / "deploy", ROOT / ".github")
    for path in (*folder.rglob("*.yml"), *folder.rglob("*.yaml"))
    if "templates" not in path.parts  # those of a Helm chart become YAML when it is rendered
)


class OnceLoader(yaml.SafeLoader):
    """Rejects duplicate keys, as compose, kubectl and Prometheus do; PyYAML silently uses the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        repeated = sorted({key for key in keys if isinstance(key, str) and keys.count(key) > 1})
        if repeated:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {', '.join(repeated)} stands there twice")
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("name", ["docker-compose.yml", *FILES])
def test_no_key_is_given_twice(name: str) -> None:
    assert list(yaml.load_all((ROOT / name).read_text(encoding="utf-8"), OnceLoader))


def test_a_key_that_is_given_twice_is_noticed() -> None:
    with pytest.raises(yaml.YAMLError, match="a stands there twice"):
        yaml.load("a: 1\nb: 2\na: 3", OnceLoader)  # noqa: S506 - a safe loader
