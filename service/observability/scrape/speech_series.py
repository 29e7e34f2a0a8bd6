"""The series of one model that reads sound: how much it read, how fast, and what it heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from service.observability.scrape.loop_metrics import LoopCount, LoopObservations


@dataclass(frozen=True)
class SpeechSeries:
    """Use it in the event loop. `streams` counts those that are open: increase it at their start."""

    streams: Gauge
    sound: LoopCount
    real_time_factor: LoopObservations
    piece_duration: LoopObservations
    partials: LoopCount
    endpoints: LoopCount
    finals: LoopCount

    def read(self, sound_s: float, took_s: float) -> None:
        """So much sound has been read in one request or piece, which took so long with its wait."""
        self.sound.inc(sound_s)
        if sound_s:
            self.real_time_factor.observe(took_s / sound_s)

    def answer(self, transcripts: Sequence[Mapping[str, Any]], took_s: float, *, is_last: bool) -> None:
        """A piece of a stream has been answered."""
        self.piece_duration.observe(took_s)
        finished = sum([transcript["is_final"] for transcript in transcripts])
        (self.finals if is_last else self.endpoints).inc(finished)
        self.partials.inc(len(transcripts) - finished)
