"""Collector of API keys: what they used, what was refused to them, and whether they could be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: The outcomes of reading the keys again.
_OUTCOMES = ("ok", "unchanged", "failed")


class Used(Protocol):
    """What a key has used of a model."""

    @property
    def requests(self) -> int: ...
    @property
    def read_tokens(self) -> int: ...
    @property
    def written_tokens(self) -> int: ...
    @property
    def compute_s(self) -> float: ...


class Ledger(Protocol):
    """All that was used."""

    def readings(self) -> Iterator[tuple[str, str, Used]]: ...


class Keys(Protocol):
    """The API keys of a service. Names of keys come from the operator, so that clients create no label values."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def refusals(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def reloads(self) -> Mapping[str, int]: ...
    @property
    def is_current(self) -> bool: ...
    @property
    def num_keys(self) -> int: ...


class KeyCollector(Collector):
    """Reads the counts at each scrape."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def collect(self) -> Iterator[Metric]:
        yield from _usage(self._keys.ledger)
        text = "Number of requests refused for their API key, or the lack of one, by reason."
        refusals = CounterMetricFamily("unroll_key_refusals", text, labels=["key", "reason"])
        for (key, reason), count in list(self._keys.refusals.items()):
            refusals.add_metric([key, reason], count)
        yield refusals
        text = "Number of times that the API keys were read again: ok, unchanged or failed."
        reloads = CounterMetricFamily("unroll_key_reloads", text, labels=["outcome"])
        for outcome in _OUTCOMES:
            reloads.add_metric([outcome], self._keys.reloads.get(outcome, 0))
        yield reloads
        text = "Whether the API keys could be read the last time (1) or not (0)."
        yield GaugeMetricFamily("unroll_last_key_reload_successful", text, value=float(self._keys.is_current))
        yield GaugeMetricFamily("unroll_api_keys", "Number of API keys.", value=self._keys.num_keys)


def _usage(ledger: Ledger) -> Iterator[Metric]:
    labels = ["key", "model"]
    requests = CounterMetricFamily("unroll_usage_requests", "Number of requests by API key and model.", labels=labels)
    text = "Number of tokens by API key and model: read from inputs, or written."
    tokens = CounterMetricFamily("unroll_usage_tokens", text, labels=[*labels, "direction"])
    text = "Part in the runs of graphs by API key and model, in seconds."
    compute = CounterMetricFamily("unroll_usage_compute_seconds", text, labels=labels)
    for key, model, used in ledger.readings():
        requests.add_metric([key, model], used.requests)
        tokens.add_metric([key, model, "read"], used.read_tokens)
        tokens.add_metric([key, model, "written"], used.written_tokens)
        compute.add_metric([key, model], used.compute_s)
    yield from (requests, tokens, compute)
