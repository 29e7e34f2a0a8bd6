"""What a baseline reports."""

from __future__ import annotations

from typing import NamedTuple


class BaselineResult(NamedTuple):
    """A cheap method's name and its measures on the dev part; shares in percent, losses in nats per token."""

    name: str
    measures: dict[str, float]
