"""Result of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

#: The network's tokenizer: text to token ids.
Encode = Callable[[str], Sequence[int]]


class BaselineResult(NamedTuple):
    """Name of the method and its measures on dev; shares in percent, losses in nats per token."""

    name: str
    measures: dict[str, float]
