"""What a model said of a record: kept while it is scored, for those who want to look at its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.records import Record


@dataclass(frozen=True)
class Prediction:
    """One record and the model's answer: tags, a label, a text, whichever its task gives. What was refused is empty."""

    record: Record
    tags: Sequence[str] = ()
    label: str = ""
    text: str = ""
    #: Where it looked, as its task says it, where that was asked for.
    attention: Any = None


Keep = Callable[[Prediction], None]


def forget(_prediction: Prediction) -> None:
    """For those who want the scores alone."""
