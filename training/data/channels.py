"""Profile of the channels of a time series: missing values, range, mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data.formats.options import Located
from training.data.records import Series


class ChannelProfile(BaseModel):
    """Statistics of one channel; None where it has no values."""

    model_config = ConfigDict(extra="forbid")

    name: str
    is_target: bool
    missing: int
    longest_gap: int = Field(description="consecutive rows without a number")
    smallest: float | None
    mean: float | None
    largest: float | None
    deviation: float | None


def channel_profiles(records: Sequence[Located]) -> list[ChannelProfile]:
    """Profile each channel of every series among the records."""
    series = [located.record for located in records if isinstance(located.record, Series)]
    return [
        _profile(name, name in each.targets, values)
        for each in series
        for name, values in zip(each.channels, each.values.T, strict=True)
    ]


def _profile(name: str, is_target: bool, values: NDArray[np.float64]) -> ChannelProfile:
    known = values[np.isfinite(values)]
    numbers = (known.min(), known.mean(), known.max(), known.std()) if known.size else (None,) * 4
    smallest, mean, largest, deviation = (None if number is None else float(number) for number in numbers)
    return ChannelProfile(
        name=name,
        is_target=is_target,
        missing=int(values.size - known.size),
        longest_gap=_longest_gap(~np.isfinite(values)),
        smallest=smallest,
        mean=mean,
        largest=largest,
        deviation=deviation,
    )


def _longest_gap(missing: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def render_channels(channels: Sequence[ChannelProfile], console: Console) -> None:
    """Print a table with one row per channel; targets are marked with *."""
    table = Table(title=f"channels ({len(channels)}, targets marked *)", title_justify="left", box=None, padding=(0, 1))
    for heading in ("", "missing", "longest gap", "smallest", "mean", "largest", "deviation"):
        table.add_column(heading, justify="left" if not heading else "right")
    for channel in channels:
        numbers = (channel.smallest, channel.mean, channel.largest, channel.deviation)
        shown = ["none" if number is None else f"{number:.4g}" for number in numbers]
        name = escape(channel.name) + (" *" if channel.is_target else "")
        table.add_row(name, f"{channel.missing:,}", f"{channel.longest_gap:,}", *shown)
    console.print(table)
