"""The text of `/metrics`, in the format that the client accepts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

#: The text of all metrics and its media type, by the header Accept of who asks.
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


def exposition(metrics: Collector, accept: str) -> tuple[bytes, str]:
    """Text and media type. Call it in a thread, because it formats thousands of lines."""
    encode, media_type = choose_encoder(accept)
    return encode(metrics), media_type
