"""`grpc.health.v1.Health`: the service, and each model by its name, for probes of Kubernetes and for load balancers.

The empty name and `inference.GRPCInferenceService` stand for the service: SERVING while it is ready.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
from grpc_health.v1 import health_pb2

from service.api.protocols.open_inference.grpc_service.calls import SERVICE, abort, arrival_of, overload_of
from service.api.protocols.open_inference.grpc_service.received import Context
from service.errors import UnknownModel
from service.inference.engines.registry import Registry

HEALTH_SERVICE: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_LOOK_EVERY_S = 0.5
_MAX_SHOWN_CHARACTERS = 64
_UNREADABLE = "the request is no message grpc.health.v1.HealthCheckRequest"


class Health:
    """Answers from the registry, so that nothing has to be told when a model changes."""

    def __init__(self, registry: Registry, max_watches_each: int) -> None:
        """One address may watch so many times at once; 0: any number."""
        self._registry = registry
        self._max_watches_each = max_watches_each
        self._watches: Counter[str] = Counter()
        self._is_stopping = False

    def stop(self) -> None:
        """Nothing serves from now on, and nobody watches any more."""
        self._is_stopping = True

    async def check(self, message: bytes, context: Context) -> bytes:
        """The status of one name."""
        request = await _parsed(message, context)
        status = self._status(request.service)
        if status is None:
            shown = request.service[:_MAX_SHOWN_CHARACTERS]
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service and no model {shown!r}")
        response: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
        return response

    async def watch(self, message: bytes, context: Context) -> None:
        """The status of one name now, and whenever it changes."""
        request = await _parsed(message, context)
        address = arrival_of(context).client
        if self._max_watches_each and self._watches[address] >= self._max_watches_each:
            await abort(context, overload_of("too many watches are open at this moment"))
        self._watches[address] += 1
        try:
            await self._watch(request, context)
        finally:
            self._watches[address] -= 1
            self._watches += Counter()  # without those that have none

    async def _watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        last: int | None = None
        while not (self._is_stopping and last == health_pb2.HealthCheckResponse.NOT_SERVING):
            status = self._status(request.service)
            status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN if status is None else status
            if status != last:
                await context.write(health_pb2.HealthCheckResponse(status=status).SerializeToString())
                last = status
            if self._is_stopping:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _status(self, name: str) -> health_pb2.HealthCheckResponse.ServingStatus | None:
        """None if there is nothing of this name."""
        if name in ("", SERVICE, HEALTH_SERVICE):
            is_serving = not self._registry.reasons()
        else:
            try:
                is_serving = not self._registry.entry(name).obstacle
            except UnknownModel:
                return None
        if is_serving and not self._is_stopping:
            return health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse.NOT_SERVING


async def _parsed(message: bytes, context: Context) -> health_pb2.HealthCheckRequest:
    try:
        return health_pb2.HealthCheckRequest.FromString(message)
    except Exception:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
