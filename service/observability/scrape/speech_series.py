"""Metrics of models that read sound: how much they read, how fast, and what they heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from service.observability.scrape.loop_metrics import LoopCount, LoopCounter, LoopHistogram, LoopObservations

_FACTOR_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
_KINDS = ("partial", "endpoint", "final")


@dataclass(frozen=True)
class SpeechSeries:
    """Those of one model. Use them in the event loop. `streams` counts those that are open."""

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


class SpeechMetrics:
    """The metrics of all models that read sound."""

    def __init__(self, registry: CollectorRegistry, duration_buckets_s: Sequence[float]) -> None:
        self._streams = Gauge(
            "unroll_speech_streams",
            "Number of open streams of sound that are read as it comes.",
            ["model"],
            registry=registry,
        )
        self._sound = LoopCounter(
            "unroll_speech_sound_seconds_total",
            "Duration of the sound that was read, in seconds.",
            ["model"],
            registry=registry,
        )
        self._real_time_factor = LoopHistogram(
            "unroll_speech_real_time_factor",
            "Time of processing, waiting included, over the duration of the sound, of each request or piece.",
            ["model"],
            buckets=_FACTOR_BUCKETS,
            registry=registry,
        )
        self._piece_duration = LoopHistogram(
            "unroll_speech_piece_duration_seconds",
            "Time in seconds from the arrival of a piece of a stream, whose last sample is the newest, to its result.",
            ["model"],
            buckets=duration_buckets_s,
            registry=registry,
        )
        self._transcripts = LoopCounter(
            "unroll_speech_transcripts_total",
            "Number of transcripts in streams: partial, endpoint (an utterance has ended), or final (the input has).",
            ["model", "kind"],
            registry=registry,
        )

    def of(self, model: str) -> SpeechSeries:
        """The series of a model."""
        return SpeechSeries(
            self._streams.labels(model),
            self._sound.labels(model),
            self._real_time_factor.labels(model),
            self._piece_duration.labels(model),
            *[self._transcripts.labels(model, kind) for kind in _KINDS],
        )
