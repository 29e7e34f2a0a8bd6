"""What a baseline reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

#: The network's tokenizer: text to token ids.
Encode = Callable[[str], Sequence[int]]


class BaselineResult(NamedTuple):
    """A cheap method's name and its measures on the dev part; shares in percent, losses in nats per token."""

    name: str
    measures: dict[str, float]
