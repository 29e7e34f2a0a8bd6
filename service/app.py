"""Puts the service together: metrics, registry, routes and the order in which things start and stop."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from service.api import generate, health, models, predict
from service.api.error_table import install_error_handlers
from service.api.request_scope import RequestScope
from service.inference.batch_policy import BatchLimits
from service.inference.engine import EngineOptions
from service.inference.registry import Registry
from service.metrics import Metrics
from service.settings import Settings

_DESCRIPTION = """Recurrent sequence models over HTTP: tagging, classification, translation and text generation.

`GET /models` says what is loaded; `POST /predict` and `POST /generate` use it. Every refusal has `error`, `error_type`
and, where a field is at fault, `detail` with its path."""


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Bundles are loaded when it starts, in the background."""
    metrics = Metrics(CollectorRegistry())
    registry = Registry(settings.models_dir, _engine_options(settings), metrics)
    metrics.ready.set_function(lambda: float(not registry.reasons()))
    # The same FastAPI, with the scripts of /docs served from here: it works where no other address can be reached.
    app = FastAPIOffline(title="Unroll", version=_version(), description=_DESCRIPTION, lifespan=_lifespan)
    app.state.settings, app.state.metrics, app.state.registry = settings, metrics, registry
    install_error_handlers(app)
    app.add_middleware(RequestScope, metrics=metrics, max_body_bytes=settings.max_body_bytes)
    for routes in (predict, generate, models, health):
        app.include_router(routes.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and check the bundles while `/health/live` already answers; at the end let waiting requests finish."""
    registry: Registry = app.state.registry
    loading = asyncio.create_task(registry.load(), name="load-bundles")
    app.state.loading = loading
    try:
        yield
    finally:
        loading.cancel()
        await asyncio.wait([loading])
        await registry.close(app.state.settings.drain_timeout_s)


def _engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        provider=settings.provider,
        threads=settings.threads,
        batch=BatchLimits(settings.max_batch_items, settings.max_batch_padded_tokens),
        max_queue_items=settings.max_queue_items,
        max_live_streams=settings.max_live_streams,
        max_stream_backlog_events=settings.max_stream_backlog_events,
    )


def _version() -> str:
    try:
        return importlib.metadata.version("unroll")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
