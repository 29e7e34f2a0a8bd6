"""The tagger over HTTP: one core, two cores, a single caller, and Poisson arrivals."""

from __future__ import annotations

from tests.load.measurement.ledger import Failed, Values
from tests.load.measurement.measure import bare, closed_loop, load
from tests.load.measurement.scenario import (
    BARE,
    SHARED,
    Case,
    Plan,
    Results,
    Row,
    Scenario,
    Subject,
    at_least,
    at_most,
    for_comparison,
    within,
)
from tests.load.measurement.scenario import number as shown
from tests.load.targets.catalogue import FLOOR, MOSEC, NAIVE, PEERS_OF_TAGGER, service, two_workers

CONNECTIONS = (1, 16, 64, 256)
BUSY = "c = 64"
GROUPINGS = ("single", "sorted-4", "sorted-8", "sorted-16", "sorted-32", "arrival-4", "arrival-16")

_LOADS = tuple(closed_loop(connections) for connections in CONNECTIONS)
_FEWER_LOADS = (closed_loop(1), closed_loop(64))
_WATCHED_CLOSELY = (MOSEC, NAIVE)
_BARE = Plan(None, "sentences", tuple(bare(name, "tagger", grouping=name) for name in GROUPINGS))
_ONE_CORE = (
    Plan(service(), "sentences", _LOADS),
    *(Plan(peer, "sentences", _LOADS if peer in _WATCHED_CLOSELY else _FEWER_LOADS) for peer in PEERS_OF_TAGGER),
    _BARE,
)


def show_rate(values: Values) -> str:
    """Rate and percentiles, the maximum latency if it is much higher, and faults if there are any."""
    if values.get("p99_ms") is None or "answered" not in values:
        return f"{shown(values['rate'])}/s"
    waiting = values.get("longest_wait_ms", 0.0)
    tail = f" / waiting {shown(waiting)}" if waiting > 2 * values["p99_ms"] else ""
    return f"{shown(values['rate'])}/s · {shown(values['p50_ms'])} / {shown(values['p99_ms'])}{tail} ms{faults(values)}"


def faults(values: Values) -> str:
    """List all faults, and whether no round was undisturbed."""
    names = ("errors", "wrong", "unanswered")
    found = [f"{values[name]:.0f} {name}" for name in names if values.get(name)]
    return (f" ({', '.join(found)})" if found else "") + (" ~" if values.get("all_disturbed") else "")


def best_peer(results: Results) -> str:
    """Return the peer with the highest rate at 64 connections."""
    rates = {peer.name: results.value(peer.name, BUSY, "rate") or 0.0 for peer in PEERS_OF_TAGGER}
    return max(rates, key=lambda name: rates[name])


def _one_core_rows(results: Results) -> list[Row]:
    rate, peer = results.value("unroll", BUSY, "rate"), best_peer(results)
    limit, rival = results.value(BARE, "sorted-16", "rate"), results.value(peer, BUSY, "rate")
    p99_ms, rival_p99_ms = results.value("unroll", BUSY, "p99_ms"), results.value(peer, BUSY, "p99_ms")
    padded = results.value("unroll", BUSY, "padded_share")
    padded_percent = None if padded is None else 100 * padded
    return [
        at_least("tagger, 64 callers", rate, "/s", "bare onnxruntime, sorted groups of 16", limit, 0.8),
        at_least("tagger, 64 callers", rate, "/s", f"best peer, {peer}", rival, 1.5),
        at_most("tagger, 64 callers: p99", p99_ms, "ms", f"best peer, {peer}", rival_p99_ms, 1.0),
        within("padding, 64 callers", padded_percent, "%", "the service's own count", 10),
    ]


ONE_CORE = Scenario(
    "tagger",
    "Tagger over HTTP, one core",
    _ONE_CORE,
    _one_core_rows,
    show_rate,
    "Answers a second · p50 / p99 of the answers; bare runs: sequences a second.",
)

_BOTH = (
    Plan(service(), "sentences", (closed_loop(64), closed_loop(256)), SHARED),
    Plan(two_workers(MOSEC), "sentences", (closed_loop(64), closed_loop(256)), SHARED),
)


def _both_cores_rows(results: Results) -> list[Row]:
    rate, alone = results.value("unroll", BUSY, "rate"), results.of("tagger").value("unroll", BUSY, "rate")
    rival = results.value("mosec x 2", BUSY, "rate")
    return [
        at_least("tagger, 64 callers, both cores", rate, "/s", "the service on one core", alone, 1.8),
        at_least("tagger, 64 callers, both cores", rate, "/s", "mosec with two workers", rival, 1.4),
    ]


BOTH_CORES = Scenario(
    "tagger-2",
    "Tagger over HTTP, both cores",
    _BOTH,
    _both_cores_rows,
    show_rate,
    "The client runs on the same two cores.",
)

_ALONE = (
    Plan(None, "sentences", (bare("single", "tagger", grouping="single"),)),
    Plan(FLOOR, "sentences", (closed_loop(1),)),
    Plan(service(), "sentences", (closed_loop(1),)),
    Plan(service("unroll, no batching", max_batch_items="1"), "sentences", (closed_loop(1),)),
    Plan(NAIVE, "sentences", (closed_loop(1),)),
)


def _alone_rows(results: Results) -> list[Row]:
    run_ms, floor_ms = results.value(BARE, "single", "p50_ms"), results.value("HTTP floor", "c = 1", "p50_ms")
    on_ms = results.value("unroll", "c = 1", "p50_ms")
    off_ms = results.value("unroll, no batching", "c = 1", "p50_ms")
    added_us = None if on_ms is None or run_ms is None else 1000 * (on_ms - run_ms)
    beside = "" if run_ms is None or floor_ms is None else f"run {run_ms:.3f} ms; HTTP floor {floor_ms:.3f} ms"
    return [
        within("one caller: p50 over the bare run", added_us, "µs", beside, 250),
        at_most("one caller: p50, batching on", on_ms, "ms", "batching off", off_ms, 1.05),
    ]


ALONE = Scenario(
    "alone",
    "One caller alone, one core",
    _ALONE,
    _alone_rows,
    show_rate,
    "Answers a second · p50 / p99. The floor answers a constant of the usual size.",
)

_SHARE_OF_CAPACITY = 0.7


def _at_random(subject: Subject) -> dict[str, float]:
    """Poisson arrivals at 70 % of the rate just measured by the closed loop of the same plan."""
    capacity = subject.results.cell(subject.plan.name, BUSY)
    if isinstance(capacity, Failed):
        raise RuntimeError(f"the capacity is not known: {capacity.reason}")
    return load(subject, rate=_SHARE_OF_CAPACITY * capacity["rate"])


_RANDOM = (closed_loop(64), Case("Poisson, 70 %", _at_random))
_TAIL = (
    Plan(service("unroll, one length"), "sentences-20", _RANDOM),
    Plan(service("unroll, mixed lengths"), "sentences", _RANDOM),
    Plan(MOSEC, "sentences", _RANDOM),
)


def _tail_rows(results: Results) -> list[Row]:
    def p99_beside_p50(plan: str) -> tuple[float | None, str, str, float | None]:
        p99_ms, p50_ms = (results.value(plan, "Poisson, 70 %", name) for name in ("p99_ms", "p50_ms"))
        return p99_ms, "ms", "p50", p50_ms

    one, mixed = p99_beside_p50("unroll, one length"), p99_beside_p50("unroll, mixed lengths")
    return [
        at_most("Poisson arrivals at 70 %, one length: p99", *one, 2.5),
        for_comparison("Poisson arrivals at 70 %, mixed lengths: p99", *mixed),
    ]


TAIL = Scenario(
    "tail",
    "Arrivals at random, one core",
    _TAIL,
    _tail_rows,
    show_rate,
    "Latency counts from when a request should have been sent. Each target is offered 70 % of its own capacity.",
)
