"""What the playground shows beside answers: counters for its live charts, and model cards as HTML."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from markdown_it import MarkdownIt
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from service.api.dependencies import KeyDependency, RegistryDependency
from service.api.routes.models import ModelPath, VersionQuery, read_card
from service.api.routes.playground import SECURITY_HEADERS
from service.observability.metrics import Metrics

router = APIRouter(include_in_schema=False, dependencies=[KeyDependency])

_UNCACHED = {**SECURITY_HEADERS, "Cache-Control": "no-store"}

#: Markdown of model cards: markup in it is shown as text, images as links; the library limits links to safe schemes.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@router.get("/playground-traffic")
async def traffic(request: Request, registry: RegistryDependency) -> Response:
    """Counters since the start, summed over all models: a few hundred bytes where `/metrics` has as many kilobytes."""
    counts = [traffic_of(request.app.state.metrics), *await registry.ask_peers("traffic")]
    return JSONResponse(_added(counts), headers=_UNCACHED)


@router.get("/playground-card/{name}")
async def card(name: ModelPath, registry: RegistryDependency, version: VersionQuery = None) -> Response:
    """The model card of a loaded model, as an HTML fragment. Raises HTTPException if it has none."""
    engine = registry.entry(name, version).engine
    text = await asyncio.to_thread(read_card, engine.opened.bundle) if engine else None
    if text is None:
        raise HTTPException(404, f"{name} has no model card")
    return HTMLResponse(await asyncio.to_thread(_MARKDOWN.render, text), headers=_UNCACHED)


def _added(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counters of all workers as one."""
    total = {name: sum(one[name] for one in counts) for name in counts[0] if name != "durations"}
    counted = [one["durations"] for one in counts if one["durations"]]  # none before the first request
    buckets = [[same[0][0], sum(count for _, count in same)] for same in zip(*counted, strict=True)]
    return total | {"durations": buckets}


def traffic_of(metrics: Metrics) -> dict[str, Any]:
    """The counters of this process."""
    durations = _samples(metrics.request_duration, "_bucket")
    buckets: dict[float, float] = {}
    for sample in durations:
        bound = float(sample.labels["le"])
        buckets[bound] = buckets.get(bound, 0) + sample.value
    return {
        "requests": _total(metrics.requests, "_total"),
        "batches": _total(metrics.batch_size, "_count"),
        "batched_inputs": _total(metrics.batch_size, "_sum"),
        "computed_tokens": _total(metrics.computed_tokens, "_total"),
        "padded_tokens": _total(metrics.padded_tokens, "_total"),
        # Pairs of upper bound in seconds and cumulative count; JSON has no infinity, so the last bound is null.
        "durations": [[bound if math.isfinite(bound) else None, count] for bound, count in sorted(buckets.items())],
    }


def _samples(metric: Collector, suffix: str) -> Iterable[Sample]:
    return (sample for family in metric.collect() for sample in family.samples if sample.name.endswith(suffix))


def _total(metric: Collector, suffix: str) -> float:
    return sum(sample.value for sample in _samples(metric, suffix))
