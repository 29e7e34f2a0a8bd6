"""Fair share between API keys: how long one caller's single requests take beside the flood of another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.access.key_makers import bearer, key, key_file
from tests.load.targets.own_server import own_server

#: Name of a key and its weight.
WEIGHTS: Mapping[str, float] = {"single": 1.0, "crowd": 1.0, "heavy": 2.0, "light": 1.0}
_TEXT = "wake me up at seven tomorrow and play some jazz"
_PATIENCE_S = 120.0


class FloodPlan(NamedTuple):
    """Who asks for how much, and for how long each part is measured."""

    model: str = "intent-en"
    num_connections: int = 16
    num_inputs: int = 64
    seconds: float = 8.0


class FairShare(NamedTuple):
    """What was measured.

    Attributes:
        latencies: in seconds, of requests with one input, by what else there was.
        heavy_share: requests of a flood with weight 2 for each of a flood with weight 1.
    """

    latencies: Mapping[str, list[float]]
    heavy_share: float


def measure_fair_share(models: Path, scratch: Path, plan: FloodPlan) -> FairShare:
    """Start a service with one lane and these keys, and measure. Raises StartFailed."""
    keys = key_file(scratch, *(key(name, weight=weight) for name, weight in WEIGHTS.items()))
    settings = {"UNROLL_API_KEYS_FILE": str(keys), "UNROLL_LANES": "1", "UNROLL_DEVICE": "cpu"}
    with own_server(models, scratch / "server.log", {**settings, "UNROLL_LOG_LEVEL": "error"}) as server:
        return asyncio.run(_measure(f"http://127.0.0.1:{server.port}", plan))


async def _measure(url: str, plan: FloodPlan) -> FairShare:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S, limits=limits) as client:
        latencies = {"alone": await _singles(client, plan, "single")}
        async with _flood(client, plan, "crowd"):
            latencies["beside a flood of another key"] = await _singles(client, plan, "single")
            latencies["beside a flood of the same key"] = await _singles(client, plan, "crowd")
        async with _flood(client, plan, "heavy") as heavy, _flood(client, plan, "light") as light:
            await asyncio.sleep(plan.seconds)
            share = len(heavy) / max(1, len(light))
    return FairShare(latencies, share)


async def _singles(client: httpx.AsyncClient, plan: FloodPlan, name: str) -> list[float]:
    latencies: list[float] = []
    end_s = time.monotonic() + plan.seconds
    while time.monotonic() < end_s:
        begun_s = time.monotonic()
        await _ask(client, plan.model, _TEXT, name)
        latencies.append(time.monotonic() - begun_s)
        await asyncio.sleep(0.02)
    return latencies


@asynccontextmanager
async def _flood(client: httpx.AsyncClient, plan: FloodPlan, name: str) -> AsyncIterator[list[float]]:
    """Large requests on many connections, each without a pause; yields the times at which they were answered."""
    answered: list[float] = []

    async def go_on() -> None:
        while True:
            await _ask(client, plan.model, [_TEXT] * plan.num_inputs, name)
            answered.append(time.monotonic())

    tasks = [asyncio.create_task(go_on()) for _ in range(plan.num_connections)]
    try:
        yield answered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(client: httpx.AsyncClient, model: str, inputs: str | list[str], name: str) -> None:
    body = {"model": model, "inputs": inputs}
    response = await client.post("/predict", json=body, headers={"Authorization": bearer(name)})
    response.raise_for_status()
