"""Ray Serve deployment: each replica is a whole service, with batching, limits, streams, keys and metrics of its own.

`serve run serve_on_ray:app`, or `serve deploy serve.yaml`. The service is set by its usual variables `UNROLL_*`, in
the `env_vars` of the runtime environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

import ray
from ray import serve
from ray_metrics import RayMetrics
from starlette.types import ASGIApp, Receive, Scope, Send

from service.observability.json_logs import JsonFormatter
from service.server.app import Application, create_app
from service.settings import Settings, read_settings


class Loaded:
    """ASGI middleware whose start is complete once the bundles are loaded: from then on Ray sends requests.

    The start fails if the service is not ready then, by `UNROLL_READY`, and Ray tells the reasons.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return

        async def send_when_loaded(message: MutableMapping[str, Any]) -> None:
            await send(await self._loaded() if message["type"] == "lifespan.startup.complete" else message)

        await self._application(scope, receive, send_when_loaded)

    async def _loaded(self) -> MutableMapping[str, Any]:
        state = self._application.state
        await asyncio.wait([state.loading])
        reasons = state.registry.reasons()
        if reasons:
            logging.getLogger("ray.serve").error("not ready: %s", " ".join(reasons))
            return {"type": "lifespan.startup.failed", "message": " ".join(reasons)}
        return {"type": "lifespan.startup.complete"}


def replica_settings(variables: Mapping[str, str], num_cpus: float) -> Settings:
    """The settings of a replica: unless they say otherwise, it has a lane for each CPU that Ray gives it."""
    settings = read_settings({}, variables)
    if "UNROLL_LANES" in variables:
        return settings
    return settings.model_copy(update={"lanes": max(1, int(num_cpus))})


def log_as_json(settings: Settings) -> None:
    """The service's log lines on standard error, which Ray keeps for each replica; Ray's own stay as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(settings.log_texts))
    logger = logging.getLogger("service")
    logger.handlers[:] = [handler]
    logger.setLevel(settings.log_level.upper())
    logger.propagate = False


# Of the limits, these are Ray's; a configuration file may give others. What a replica refuses, such as requests past
# UNROLL_MAX_OPEN_REQUESTS, it refuses as everywhere: Ray's own limits should be the wider ones.
@serve.deployment(
    max_ongoing_requests=1024,
    ray_actor_options={"num_cpus": 1},
    autoscaling_config={"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 32},
    graceful_shutdown_timeout_s=40,
    health_check_period_s=10,
    health_check_timeout_s=30,
)
@serve.ingress()
class Unroll:
    """A replica: the service's ASGI application, loaded, drained and watched as Ray asks."""

    def __init__(self) -> None:
        num_cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0)
        settings = replica_settings(os.environ, num_cpus)
        log_as_json(settings)
        self._settings = settings
        self._application = create_app(settings)
        self._metrics = RayMetrics(self._application.metrics.registry)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self._metrics.start()
        return Loaded(self._application)

    def check_health(self) -> None:
        """As `GET /health/live`: Ray replaces the replica if only a restart will help."""
        reason = self._application.state.registry.standstill(self._settings.max_run_s)
        if reason:
            raise RuntimeError(reason)


app = Unroll.bind()  # type: ignore[attr-defined]  # what the decorator makes of the class
