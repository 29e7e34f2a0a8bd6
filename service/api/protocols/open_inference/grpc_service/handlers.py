"""What gRPC calls for each method: the 20 of the protocol, health and reflection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from service.api.protocols.open_inference.grpc_service.calls import SERVICE, Calls, Method
from service.api.protocols.open_inference.grpc_service.health import HEALTH_SERVICE, Health
from service.api.protocols.open_inference.grpc_service.infer_stream import METHOD_NAME, InferStreams
from service.api.protocols.open_inference.grpc_service.methods import UNARY_METHODS
from service.api.protocols.open_inference.grpc_service.received import Context

#: The same messages under the name of today and the one of before; clients ask for either.
_REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it has none at run time
    """Finds the handler of a method by its path."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """None: gRPC answers UNIMPLEMENTED."""
        return self._handlers.get(details.method)


def handlers_of(calls: Calls, streams: InferStreams, health: Health) -> Handlers:
    """The handlers of every service on the port."""
    found = {method.route: _unary(calls, method) for method in UNARY_METHODS}
    found[f"/{SERVICE}/{METHOD_NAME}"] = grpc.stream_stream_rpc_method_handler(streams.answer)
    found[f"/{HEALTH_SERVICE}/Check"] = grpc.unary_unary_rpc_method_handler(health.check)
    found[f"/{HEALTH_SERVICE}/Watch"] = grpc.unary_stream_rpc_method_handler(health.watch)
    reflection = grpc.stream_stream_rpc_method_handler(
        ReflectionServicer((SERVICE, HEALTH_SERVICE, *_REFLECTION[1:])).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return Handlers(found | {f"/{name}/ServerReflectionInfo": reflection for name in _REFLECTION})


def _unary(calls: Calls, method: Method) -> Handler:
    """A method with one request, which is handed over as a stream: it is read once its caller is known."""

    async def answer(_requests: object, context: Context) -> bytes:
        return await calls.unary(method, context)

    return grpc.stream_unary_rpc_method_handler(answer)
