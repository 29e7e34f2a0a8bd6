"""The group of worker processes to which this process belongs, when several serve one port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WorkerGroup:
    """One worker's place among those that share a port.

    Attributes:
        index: This worker, from 0.
        count: How many workers there are.
        folder: A private folder in memory for what they share. The supervisor makes and removes it.
    """

    index: int
    count: int
    folder: Path
