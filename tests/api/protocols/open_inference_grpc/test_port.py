"""The port of gRPC: health, reflection, certificates, and how it starts and stops."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from service.server.grpc_port import GrpcPort, require_grpc
from service.settings import Settings, SettingsError
from tests.api.protocols.open_inference_grpc.calls import MODEL, SERVICE, call, infer, request
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer, held_runs, live_server
from tests.tls.certificates import Authority

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: grpc.Channel, name: str) -> int:
    answered = call(channel, CHECK, health_pb2.HealthCheckRequest(service=name))
    status: int = health_pb2.HealthCheckResponse.FromString(answered.response).status
    return status


@pytest.mark.parametrize("name", ["", "inference.GRPCInferenceService", MODEL])
def test_the_service_and_its_models_are_healthy(channel: grpc.Channel, name: str) -> None:
    assert health(channel, name) == SERVING


def test_an_unknown_name_has_no_health(channel: grpc.Channel) -> None:
    assert call(channel, CHECK, health_pb2.HealthCheckRequest(service="absent")).status == "NOT_FOUND"
    assert call(channel, CHECK, b"\xff").status == "INVALID_ARGUMENT"


def test_a_stop_is_told_to_watchers_and_lets_what_is_in_flight_finish(tiny_models: Path) -> None:
    with live_server(tiny_models, grpc_port=0) as own:
        channel = grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}")
        watching: Any = channel.unary_stream(WATCH, response_deserializer=health_pb2.HealthCheckResponse.FromString)(
            b"", timeout=PATIENCE_S
        )
        assert next(watching).status == SERVING
        with held_runs(own, MODEL) as begun:
            pending = channel.unary_unary(f"{SERVICE}/ModelInfer").future(request(b"hello").SerializeToString())
            assert begun.wait(PATIENCE_S)
            own.stop()
            assert next(watching).status == NOT_SERVING
            assert not pending.done()
        assert pending.result(PATIENCE_S)
    channel.close()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_the_services(channel: grpc.Channel, version: str) -> None:
    """As grpcurl asks: the names of the services, then the file of one of them."""
    stub = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
    ]
    listed, described = stub(iter(asked), timeout=PATIENCE_S)
    names = {service.name for service in listed.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


def test_the_certificate_of_the_service_is_that_of_the_port_and_clients_need_one(
    tiny_models: Path, tmp_path: Path
) -> None:
    """The settings of TLS hold for both ports, also where they ask clients for certificates."""
    authority = Authority(tmp_path / "authority")
    own, other = authority.sign("service"), authority.sign("client")
    settings = {"tls_cert": str(own.cert), "tls_key": str(own.key), "tls_client_ca": str(authority.cert)}
    with live_server(tiny_models, grpc_port=0, **settings) as started:
        roots = authority.cert.read_bytes()
        known = grpc.ssl_channel_credentials(roots, other.key.read_bytes(), other.cert.read_bytes())
        with grpc.secure_channel(f"localhost:{started.grpc_port}", known) as channel:
            assert infer(channel, request(b"hello")).status == "OK"
        with grpc.secure_channel(f"localhost:{started.grpc_port}", grpc.ssl_channel_credentials(roots)) as channel:
            assert infer(channel, request(b"hello")).status == "UNAVAILABLE"
        with grpc.insecure_channel(f"localhost:{started.grpc_port}") as channel:
            assert infer(channel, request(b"hello")).status == "UNAVAILABLE"


def test_without_the_extra_the_setting_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_health.v1.health_pb2", None)
    with pytest.raises(SettingsError, match="UNROLL_GRPC_PORT needs the extra grpc"):
        require_grpc()


def test_a_port_that_is_taken_is_said_in_plain_words(service: LiveServer) -> None:
    import asyncio

    settings = Settings(grpc_port=service.grpc_port)
    port = GrpcPort(settings, service.app, None)
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{service.grpc_port}.*--grpc-port"):
        asyncio.run(port.start())
    wait_until(lambda: service.grpc_port > 0)
