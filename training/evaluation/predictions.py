"""The model's prediction for a record, kept during evaluation for error analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

RecordT = TypeVar("RecordT")


@dataclass(frozen=True)
class Prediction(Generic[RecordT]):
    """A record and the model's answer: tags, a label, a text or a tree, as its task gives them; empty if refused."""

    record: RecordT
    tags: Sequence[str] = ()
    label: str = ""
    text: str = ""
    #: A parse in its task's own form; None where the task gives none, or refused the record.
    parse: Any = None
    #: Attention weights in the task's own form, where they were asked for.
    attention: Any = None


Keep = Callable[[Prediction[Any]], None]


def forget(_prediction: Prediction[Any]) -> None:
    """A `Keep` that drops predictions, for scores alone."""
