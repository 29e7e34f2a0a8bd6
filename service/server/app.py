"""Puts the service together: metrics, registry, routes and the order in which things start and stop."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.error_table import install_error_handlers
from service.api.json_route import JsonRoute, JsonRoutes, Services
from service.api.request_scope import RequestScope
from service.api.routes import generate, health, models, playground, predict
from service.api.state_source import StateStorage
from service.distribution import installed_version
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.registry import Registry
from service.inference.runtime.ort_runner import runtime_version
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.state.open_sessions import open_session_store
from service.inference.state.sealed_state import StateSealer
from service.inference.state.session_memory import LocalSessions
from service.inference.state.sessions import SessionLimits
from service.observability.metrics import NO_MODEL, Metrics
from service.observability.spans import Tracer
from service.observability.tracing import open_tracer
from service.server.background import BackgroundTasks
from service.settings import Settings

logger = logging.getLogger(__name__)

#: A session is held for a request at most as long as that may take, and this much longer.
_HOLD_MARGIN_S = 5.0

_DESCRIPTION = """Recurrent sequence models over HTTP: tagging, classifying, translating, forecasting, describing.

`GET /models` says what is loaded; `POST /predict` and `POST /generate` use it. Every refusal has `error`, `error_type`
and, where a field is at fault, `detail` with its path."""


class Application:
    """The ASGI application: a front that answers for the models, and FastAPI for everything else and for the schema.

    What the framework wraps around every request is as expensive as a small model, so requests for models are answered
    before they reach it.
    """

    def __init__(
        self,
        framework: FastAPI,
        services: Services,
        metrics: Metrics,
        json_routes: list[JsonRoute],
        tracer: Tracer | None,
    ) -> None:
        self.framework = framework
        self.state = framework.state
        self._json_routes = JsonRoutes(framework, json_routes, services)
        self._scope = RequestScope(self._json_routes, metrics, services.settings.max_body_bytes, tracer)
        #: The paths that `respond` can answer, as they stand in a request line.
        self.whole_paths = frozenset(path.encode("ascii") for path in self._json_routes.whole_paths)
        self.max_body_bytes = services.settings.max_body_bytes
        self._max_open = services.settings.max_open_requests
        self._num_open = 0
        self._num_streaming = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request begins here, or in `respond`; so does the lifespan, which ends with the last of them."""
        is_request = scope["type"] == "http"
        self._num_streaming += is_request
        try:
            await self._scope(scope, receive, send)
        finally:
            self._num_streaming -= is_request

    @property
    def num_open(self) -> int:
        """Requests being answered, streams and the health checks counted."""
        return self._num_open + self._num_streaming

    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
        """What a request gets that would be one too many at the same time; None if there is room."""
        return None if self._num_open < self._max_open else self._scope.refuse(headers)

    async def respond(self, path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Response:
        """Answer a POST request that is there as a whole, without ASGI; cancelled when the caller leaves."""
        self._num_open += 1
        try:
            return await self._scope.around(path, headers, body, self._json_routes.respond)
        finally:
            self._num_open -= 1

    def note_left(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Of a POST request for `respond` the caller left before it was there as a whole."""
        self._scope.note_left(path, headers)


def create_app(settings: Settings) -> Application:
    """The application for these settings. Bundles are loaded when it starts, in the background.

    Raises:
        SettingsError: Redis, or tracing, is asked for and cannot be used.
    """
    metrics = Metrics(CollectorRegistry())
    metrics.build_info.labels(installed_version(), runtime_version(), platform.python_version()).set(1)
    metrics.max_open_requests.set(settings.max_open_requests)
    metrics.expect_requests(NO_MODEL, NO_MODEL)
    registry = Registry(settings.models_dir, _engine_options(settings), metrics)
    metrics.ready.set_function(lambda: float(not registry.reasons()))
    # FastAPI with the scripts of /docs served from here: it works where no other address can be reached.
    framework = FastAPIOffline(
        title="Unroll", version=installed_version(), description=_DESCRIPTION, lifespan=_lifespan
    )
    services = Services(registry, settings, _state_storage(settings))
    metrics.watch_states(services.state_storage.sealer)
    if isinstance(services.state_storage.sessions, LocalSessions):
        metrics.watch_sessions(services.state_storage.sessions)
    framework.state.settings, framework.state.metrics, framework.state.registry = settings, metrics, registry
    framework.state.services = services
    install_error_handlers(framework)
    routers = [routes.router for routes in (predict, generate, models, health, playground)]
    for router in routers:
        framework.include_router(router)
    json_routes = [route for router in routers for route in router.routes if isinstance(route, JsonRoute)]
    framework.state.tracer = open_tracer(installed_version())
    application = Application(framework, services, metrics, json_routes, framework.state.tracer)
    metrics.open_requests.set_function(lambda: application.num_open)
    return application


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load and check the bundles while `/health/live` already answers; at the end let waiting requests finish."""
    state = app.state
    background_tasks = BackgroundTasks(state.registry, state.metrics, state.settings.reload_every_s)
    state.loading = background_tasks.start()
    try:
        yield
    finally:
        await background_tasks.stop()
        await state.registry.close(state.settings.drain_timeout_s)
        await state.services.state_storage.sessions.close()
        if state.tracer is not None:
            await asyncio.to_thread(state.tracer.close)


def _engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        device=settings.device,
        precision=settings.precision,
        num_lanes=settings.lanes,
        batch=BatchLimits(settings.max_batch_items, settings.max_batch_padded_tokens),
        max_queue_items=settings.max_queue_items,
        max_live_rows=settings.max_live_streams,
        max_stream_backlog_events=settings.max_stream_backlog_events,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        prefix_checkpoint_tokens=settings.prefix_checkpoint_tokens,
    )


def _state_storage(settings: Settings) -> StateStorage:
    """What seals and keeps states. Raises SettingsError where Redis is asked for and cannot be used."""
    sealer = StateSealer(settings.state_key_list, settings.state_ttl_s, settings.max_state_bytes)
    if sealer.has_made_up_key:
        logger.warning("no UNROLL_STATE_KEYS: states are good on this replica only, and until it stops")
    limits = SessionLimits(
        settings.session_ttl_s, settings.max_state_bytes, settings.max_sessions, settings.max_session_total_bytes
    )
    max_hold_s = settings.default_timeout_ms / 1000 + _HOLD_MARGIN_S
    sessions = open_session_store(settings.redis_url.get_secret_value(), limits, max_hold_s)
    return StateStorage(sealer, sessions)
