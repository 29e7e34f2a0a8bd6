"""How many workers there are, and each one's part of the cores and of the limits that are totals.

A setting keeps its meaning for the whole service: the parts add up to it. Where it is smaller than the number of
workers each gets one, and where a part would be too small for a single request each gets what one request needs.
"""

from __future__ import annotations

from typing import Any

from service.inference.runtime.cpu_quota import usable_cores
from service.inference.runtime.ort_runner import default_lanes
from service.settings import Settings

#: Totals of the whole service, of which each worker has a part. Sessions, states of prefixes and the limits of keys
#: are no such: workers share them.
DIVIDED = (
    "max_open_requests",
    "max_connections",
    "max_held_body_bytes",
    "max_queue_items",
    "max_live_streams",
    "max_streams_per_client",
    "model_memory_bytes",
)
#: The least that a part may be, by the setting that says what one request may need.
_AT_LEAST = {
    "max_held_body_bytes": "max_body_bytes",
    "max_queue_items": "max_inputs_per_request",
    "max_live_streams": "max_continuations",
}


def number_of_workers(settings: Settings) -> int:
    """The number that the settings ask for: `auto` is one for each usable core, and one where a GPU is asked for."""
    if settings.workers != "auto":
        return settings.workers
    return 1 if settings.device.startswith("cuda") else usable_cores()


def part_of(settings: Settings, index: int, count: int) -> Settings:
    """The settings of one of `count` workers, by its index from 0."""
    lanes = settings.lanes or default_lanes(settings.device)
    parts: dict[str, Any] = {"lanes": max(1, _share(lanes, index, count))}
    for name in DIVIDED:
        total = getattr(settings, name)
        least = min(total, getattr(settings, _AT_LEAST[name])) if name in _AT_LEAST else min(total, 1)
        parts[name] = max(least, _share(total, index, count))
    return settings.model_copy(update=parts)


def _share(total: int, index: int, count: int) -> int:
    """The parts add up to the total and differ by one at most."""
    return total // count + (index < total % count)
