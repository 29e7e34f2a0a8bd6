"""The application: metrics, registry, protocols and routes, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.access.access_control import open_access
from service.api.call import Services
from service.api.dispatch import Dispatcher
from service.api.documentation import complete_document, document
from service.api.error_table import Failure, install_error_handlers
from service.api.protocol import Match, Protocol, RouteTable
from service.api.protocols import (
    hugging_face_tasks,
    kserve_v1,
    model_admin,
    predict,
    sessions,
    text_generation_inference,
)
from service.api.protocols.open_inference import routes as open_inference
from service.api.protocols.openai import protocol as openai
from service.api.request_scope import Headers, RequestScope, StreamWriter, Surroundings
from service.api.routes import health, models, open_inference_probes, playground, playground_data, reference
from service.api.state_source import open_state_storage
from service.api.streaming import endpoint as streaming
from service.api.streaming.endpoint import StreamEndpoint
from service.api.validation.sound_body import max_body_bytes
from service.distribution import installed_version
from service.hub.at_start import pulls_of
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.lifecycle.inherited import NONE_INHERITED, InheritedBundles
from service.inference.engines.registry import Registry
from service.inference.runtime.mapped_graphs import MappedGraphs
from service.inference.runtime.ort_runner import runtime_version
from service.inference.scheduling.batch_policy import BatchLimits
from service.observability.collectors import SessionCollector, Sessions, SessionStoreCollector, StateCollector
from service.observability.key_collector import KeyCollector
from service.observability.metrics import NO_MODEL, Metrics
from service.observability.scrape.exposition import Exposition, Scrape
from service.observability.spans import Tracer
from service.observability.tracing import open_tracer
from service.server.background import BackgroundTasks, open_usage
from service.server.edge.cors import Cors
from service.server.edge.forwarded import ForwardedScope, root_path_of, without_prefix
from service.server.edge.host_check import HostCheck
from service.server.edge.implied_methods import ImpliedMethods
from service.server.edge.pages import Compressed, Secured
from service.server.edge.probes import Probes
from service.server.edge.remembered_routes import remember_routes
from service.server.edge.trusted_proxies import TrustedProxies
from service.server.open_connections import ConnectionLimits, OpenConnections
from service.server.shedding.encoded_refusal import EncodedRefusal, head_of
from service.server.shedding.load_shedding import LoadShedding
from service.server.websocket.parsing_turns import ParsingTurns
from service.server.websocket.places import Places, SharedByWebSockets
from service.server.workers.worker_peers import WorkerPeers
from service.settings import Settings
from service.tasks.inputs.request_limits import RequestLimits
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

#: The HTTP protocols that are served. A new one is a file or a folder in `api/protocols`, and an entry here.
PROTOCOLS = (
    predict.PROTOCOL,
    text_generation_inference.PROTOCOL,
    hugging_face_tasks.PROTOCOL,
    model_admin.PROTOCOL,
    sessions.PROTOCOL,
    openai.PROTOCOL,
    open_inference.PROTOCOL,
    kserve_v1.PROTOCOL,
    streaming.PROTOCOL,
)

_DESCRIPTION = """Recurrent sequence models over HTTP: tagging, classification, translation, forecasting, captioning and
text generation.

`GET /models` lists the models; `POST /predict` and `POST /generate` use them. Every error has `error` and `error_type`,
and `detail` with the path of each invalid field; below `/v1` errors are in OpenAI's form."""


class Application:
    """The ASGI application: requests to protocols are answered before they reach FastAPI, which answers the others.

    What the framework adds to every request costs as much as a small model.
    """

    def __init__(
        self,
        framework: FastAPI,
        services: Services,
        protocols: Sequence[Protocol],
        metrics: Metrics,
        tracer: Tracer | None,
    ) -> None:
        settings = services.settings
        self.framework = framework
        self.state = framework.state
        self.services = services
        self.metrics = metrics
        self.open_connections = OpenConnections(_connection_limits(settings), metrics)
        self.websockets = SharedByWebSockets(ParsingTurns(), Places(settings.max_streams_per_client))
        self._routes = RouteTable(protocols)
        self._root_path = root_path_of(settings.root_path)
        proxies = TrustedProxies.of(settings.trusted_proxies)
        cors = Cors.of(settings.cors_origins, settings.cors_credentials)
        self.host_check = HostCheck.of(settings.allowed_hosts, proxies)
        pages = Secured(Compressed(ForwardedScope(framework, proxies, self._root_path)))
        self._shedding = LoadShedding(services, metrics, proxies.client_of)
        self._dispatcher = Dispatcher(pages, services, self.open_connections, self._shedding.note)
        app = ImpliedMethods(self._dispatcher, framework.routes, cors)
        self.client_of = proxies.client_of
        surroundings = Surroundings(proxies.client_of, None if cors is None else cors.add_headers)
        #: Pages of other origins need headers, and traces a record of each request.
        self._sheds_early = cors is None and tracer is None
        self._scope = RequestScope(
            app, self._dispatcher.respond, self._routes, metrics, self._max_body_bytes, tracer, surroundings
        )
        self._max_open = settings.max_open_requests
        self._num_other = 0
        #: Pages of other origins need headers.
        self._probes = Probes(services.registry, settings.max_run_s) if cors is None else None
        self._streams = StreamEndpoint(
            services,
            metrics,
            self.open_connections,
            lambda: self.num_open <= self._max_open,
            cors or (),
            proxies.client_of,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request begins here, or in `respond`; so does the lifespan, which ends with the last of them."""
        match = None
        if scope["type"] in ("http", "websocket"):
            scope["path"] = without_prefix(scope["path"], self._root_path)
        if scope["type"] == "http":
            match = self._routes.find(scope["method"], scope["path"])
        if scope["type"] == "websocket":
            await self._streams(scope, receive, send)
        elif match is None:
            await self._answer_other(scope, receive, send)
        elif self._scope.num_open >= self._max_open:
            await self._scope.refuse(match, scope["headers"])(scope, receive, send)
        else:
            self._scope.num_open += 1
            try:
                await self._scope(scope, receive, send)
            finally:
                self._scope.num_open -= 1

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what no protocol serves: probes and pages must be answered under any load."""
        self._num_other += scope["type"] == "http"
        try:
            await self._scope(scope, receive, send)
        finally:
            self._num_other -= scope["type"] == "http"

    @property
    def reports(self) -> RequestScope:
        """What counts, logs and traces requests."""
        return self._scope

    def enter(self) -> bool:
        """Begin a request that did not come by HTTP/1, if fewer than the limit are open; then `leave`."""
        if self._scope.num_open >= self._max_open:
            return False
        self._scope.num_open += 1
        return True

    def leave(self) -> None:
        """Such a request has ended."""
        self._scope.num_open -= 1

    @property
    def num_open(self) -> int:
        """Requests being answered: streams of events, pieces of WebSockets and health checks included."""
        return self._scope.num_open + self._num_other + self._streams.reports.num_busy

    def find_post(self, url: bytes) -> Match | None:
        """The route of a POST request by its target as sent; targets with a query or escapes need ASGI."""
        if b"%" in url or b"?" in url:
            return None
        return self._routes.find("POST", without_prefix(url.decode("latin-1"), self._root_path))

    def probe(self, url: bytes, headers: Headers) -> bytes | None:
        """What answers a GET request, if it is a probe that finds all well. See `Probes.answer`."""
        if self._probes is None:
            return None
        return self._probes.answer(without_prefix(url.decode("latin-1"), self._root_path), headers)

    def max_body_bytes(self, method: bytes, target: bytes) -> int:
        """The limit on the body of a request, by its route."""
        path = without_prefix(target.partition(b"?")[0].decode("latin-1"), self._root_path)
        return self._max_body_bytes(self._routes.find(method.decode("latin-1"), path))

    def _max_body_bytes(self, match: Match | None) -> int:
        takes_sound = match is not None and match.route.takes_sound
        return max_body_bytes(self.services.settings, self.services.registry, takes_sound=takes_sound)

    def has_websocket(self, target: bytes) -> bool:
        """Whether a WebSocket may be opened at this request target."""
        return without_prefix(target.partition(b"?")[0].decode("latin-1"), self._root_path) == streaming.PATH

    def shed(self, match: Match, headers: Headers, body: bytes | bytearray, client: str) -> EncodedRefusal | None:
        """The response to a request that must be refused for want of room, or for its key; None if it may be answered.

        Nothing has been done for it yet: load shedding must cost little.
        """
        if self._scope.num_open < self._max_open:
            return self._shedding.refusal(match, headers, body, client) if self._sheds_early else None
        if self._sheds_early:
            return self._shedding.too_many(match, headers)
        response = self._scope.refuse(match, headers)
        return EncodedRefusal(response.status_code, head_of(response.raw_headers) + bytes(response.body))

    def turn_away(
        self, failure: Failure, method: str, target: bytes, headers: Headers, *, is_counted: bool
    ) -> Response:
        """The response to a request that the connection refuses; method and target are empty if they are not known."""
        path = without_prefix(target.partition(b"?")[0].decode("latin-1"), self._root_path)
        match = self._routes.find(method, path)
        return self._scope.turn_away(failure, match, method, headers, is_counted=is_counted)

    def respond(
        self, match: Match, headers: Headers, body: bytes, write_stream: StreamWriter, client: str = ""
    ) -> Coroutine[Any, Any, Response | None]:
        """Answer a POST request whose body is complete, without ASGI; cancelled when the client disconnects.

        `client` is the address from which it came.
        Returns None once a stream has been written.
        """
        return self._scope.around(match, headers, body, write_stream, client)

    def note_left(self, match: Match, headers: Headers) -> None:
        """Report a POST request whose client disconnected before the body was complete."""
        self._scope.note_left(match, headers)


def create_app(
    settings: Settings, group: WorkerGroup | None = None, inherited: InheritedBundles = NONE_INHERITED
) -> Application:
    """Create the application. Bundles are loaded in the background once it has started.

    `group` is the place of this process among the workers that share the port, its states and the limits of keys with
    it, and `settings` are then its part of the other limits; None: it serves alone. `inherited` are bundles that were
    opened before it was forked.

    Raises:
        SettingsError: Redis, tracing, API keys or bundles to pull cannot be used as configured, or a setting of the
            network is none; or the folder of the group has no room.
    """
    access = open_access(settings, group)
    metrics = Metrics(CollectorRegistry())
    metrics.build_info.labels(installed_version(), runtime_version(), platform.python_version()).set(1)
    metrics.max_open_requests.set(settings.max_open_requests)
    metrics.expect_requests(NO_MODEL, NO_MODEL)
    policy = ReadinessPolicy(settings.required_models)
    registry = Registry(
        settings.models_dir,
        _engine_options(settings, access.weights, group),
        metrics,
        policy,
        settings.link_root_list,
        settings.default_model_list,
        None if group is None else WorkerPeers(group),
        inherited,
    )
    metrics.ready.set_function(lambda: float(not registry.reasons()))
    framework = _framework()
    framework.state.pulls = pulls = pulls_of(settings)
    registry.wait_for(lambda: pulls.reasons)
    services = Services(registry, settings, open_state_storage(settings, group), access)
    metrics.watch(KeyCollector(access))
    metrics.watch(StateCollector(services.state_storage.sealer))
    if isinstance(services.state_storage.sessions, Sessions):
        metrics.watch(SessionCollector(services.state_storage.sessions))
    metrics.watch(SessionStoreCollector(services.state_storage.sessions.failures))
    framework.state.settings, framework.state.metrics, framework.state.registry = settings, metrics, registry
    framework.state.services, framework.state.group = services, group
    framework.state.scrape = _scrape_of(metrics)
    framework.state.tracer = open_tracer(installed_version())
    application = Application(framework, services, PROTOCOLS, metrics, framework.state.tracer)
    metrics.open_requests.set_function(lambda: application.num_open)
    return application


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, which `/openapi.json` serves. It does not depend on settings or models."""
    return _framework().openapi()


def _framework() -> FastAPI:
    """FastAPI with every route, and the scripts of /docs served from here, so that it works without internet access."""
    framework = FastAPIOffline(
        title="Unroll",
        version=installed_version(),
        description=_DESCRIPTION,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan,
        docs_url=None,  # `reference` serves the pages, with security headers
        redoc_url=None,
    )
    install_error_handlers(framework, {one.root: one.errors for one in PROTOCOLS if one.root})
    for protocol in PROTOCOLS:
        document(protocol, framework)
    for routes in (models, health, open_inference_probes, playground, playground_data, reference):
        framework.include_router(routes.router)
    remember_routes(framework.router)
    framework.openapi = partial(complete_document, framework, PROTOCOLS)  # type: ignore[method-assign]
    return framework


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the bundles while `/health/live` already answers; on shutdown, let requests in flight finish."""
    state = app.state
    sessions = state.services.state_storage.sessions
    access = state.services.access
    usage = open_usage(state.settings, access, state.group)
    background_tasks = BackgroundTasks(
        state.registry, state.metrics, state.settings.reload_every_s, sessions.check, access, usage, state.pulls
    )
    state.loading = background_tasks.start()
    try:
        yield
    finally:
        await background_tasks.stop()
        await state.registry.close(state.settings.drain_timeout_s)
        await sessions.close()
        if usage is not None and not await asyncio.to_thread(usage.log.write):
            logger.error("usage since the last time is lost")
        if state.tracer is not None:
            await asyncio.to_thread(state.tracer.close)


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        max_body_bytes=settings.max_body_bytes,
        max_head_bytes=settings.max_head_bytes,
        max_connections=settings.max_connections,
        max_held_body_bytes=settings.max_held_body_bytes,
        head_timeout_s=settings.head_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        min_upload_bytes_per_s=settings.min_upload_bytes_per_s,
        unread_timeout_s=settings.unread_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        max_message_bytes=max(settings.max_stream_message_bytes, settings.max_stream_sound_bytes),
        max_text_message_bytes=settings.max_stream_message_bytes,
        max_waiting_messages=settings.max_stream_waiting_messages,
        message_timeout_s=settings.stream_timeout_s,
        ping_interval_s=settings.stream_ping_interval_s,
    )


def _scrape_of(metrics: Metrics) -> Scrape:
    exposition = Exposition()

    async def scrape(accept: str) -> tuple[bytes, str]:
        return await asyncio.to_thread(exposition.write, metrics.registry, accept)

    return scrape


def _engine_options(settings: Settings, weights: Mapping[str, float], group: WorkerGroup | None) -> EngineOptions:
    return EngineOptions(
        group=group,
        device=settings.device,
        weights=weights,
        precision=settings.precision,
        num_lanes=settings.lanes,
        batch=BatchLimits(settings.max_batch_items, settings.max_batch_padded_tokens),
        max_queue_items=settings.max_queue_items,
        max_live_rows=settings.max_live_streams,
        max_stream_backlog_events=settings.max_stream_backlog_events,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        prefix_checkpoint_tokens=settings.prefix_checkpoint_tokens,
        keeps_texts=settings.log_texts,
        model_memory_bytes=settings.model_memory_bytes,
        request=RequestLimits(
            settings.max_tokens_per_request, settings.max_pixels_per_request, settings.max_samples_per_request
        ),
        mapped_graphs=None if group is None else MappedGraphs(group.folder / "graphs"),
    )
