"""The option `--parameter KEY=VALUE` of commands that send requests."""

from __future__ import annotations

import json
from typing import Any

from service.errors import UnrollError


def parse_parameter(text: str) -> tuple[str, Any]:
    """`top_k=3` as a name and a JSON value; anything but JSON is a string. Raises UnrollError without a name."""
    name, separator, value = text.partition("=")
    if not separator:
        raise UnrollError(f"--parameter {text}: write KEY=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
