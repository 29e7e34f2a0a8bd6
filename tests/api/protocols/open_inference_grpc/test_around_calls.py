"""What is around every call: keys and their limits, deadlines, cancelling, request ids, metrics and room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.access.api_key import KeyLimits
from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from service.api.protocols.open_inference.grpc_service.calls import NAME
from tests.access.key_makers import bearer, key, key_file, secret_of
from tests.api.protocols.open_inference_grpc.calls import MODEL, SERVICE, call, infer, request
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer, held_runs, live_server
from tests.tiny_bundles import copy_bundle


@pytest.fixture(scope="module")
def guarded(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """A channel to a service with keys, and room for one request."""
    path = key_file(
        tmp_path_factory.mktemp("keys"),
        key("predictor", scopes=("predict",)),
        key("writer", scopes=("generate",)),
        key("admin", scopes=("admin",)),
        key("few", limits=KeyLimits(requests_per_minute=1)),
        key("small", limits=KeyLimits(max_body_bytes=100)),
    )
    with (
        live_server(tiny_models, grpc_port=0, api_keys_file=path) as started,
        grpc.insecure_channel(f"127.0.0.1:{started.grpc_port}") as opened,
    ):
        yield opened


def of(name: str) -> list[tuple[str, str]]:
    return [("authorization", bearer(name))]


def test_a_key_is_needed_and_only_by_what_is_no_probe(guarded: grpc.Channel) -> None:
    answered = infer(guarded, request(b"hello"))
    assert (answered.status, answered.metadata["error-type"]) == ("UNAUTHENTICATED", "unauthenticated")
    assert infer(guarded, request(b"hello"), metadata=[("authorization", "Bearer no")]).status == "UNAUTHENTICATED"
    for probe in ("ServerLive", "ServerReady", "ModelReady", "/grpc.health.v1.Health/Check"):
        assert call(guarded, probe).status == "OK"
    assert call(guarded, "ServerMetadata").status == "UNAUTHENTICATED"
    assert call(guarded, "ServerMetadata", metadata=of("writer")).status == "OK"
    assert infer(guarded, request(b"hello"), metadata=[("x-api-key", secret_of("predictor"))]).status == "OK"


def test_a_key_needs_the_scope_of_what_it_does(guarded: grpc.Channel) -> None:
    for name, status in {"predictor": "OK", "writer": "PERMISSION_DENIED", "admin": "PERMISSION_DENIED"}.items():
        assert infer(guarded, request(b"hello"), metadata=of(name)).status == status
    assert call(guarded, "RepositoryModelUnload", metadata=of("predictor")).status == "PERMISSION_DENIED"
    assert call(guarded, "RepositoryModelUnload", metadata=of("admin")).status == "NOT_FOUND"


def test_a_model_is_unloaded_and_loaded(guarded: grpc.Channel) -> None:
    named = pb.RepositoryModelLoadRequest(model_name="tiny-translator")
    ready = pb.ModelReadyRequest(name="tiny-translator")
    for method, is_ready in (("RepositoryModelUnload", False), ("RepositoryModelLoad", True)):
        assert call(guarded, method, named, metadata=of("admin")).status == "OK"
        answered = pb.ModelReadyResponse.FromString(call(guarded, "ModelReady", ready).response)
        assert answered.ready is is_ready


def test_the_limits_of_a_key_are_said_and_kept(guarded: grpc.Channel) -> None:
    first = infer(guarded, request(b"hello"), metadata=of("few"))
    assert (first.status, first.metadata["x-ratelimit-limit-requests"]) == ("OK", "1")
    second = infer(guarded, request(b"hello"), metadata=of("few"))
    assert (second.status, second.metadata["error-type"]) == ("RESOURCE_EXHAUSTED", "rate_limited")
    assert 0 < int(second.metadata["retry-after"]) <= 60
    assert second.metadata["grpc-retry-pushback-ms"] == second.metadata["retry-after"] + "000"
    answered = infer(guarded, request(b"hello " * 50), metadata=of("small"))
    assert (answered.status, answered.metadata["error-type"]) == ("RESOURCE_EXHAUSTED", "body_too_large")


def test_each_call_is_counted_by_its_protocol_and_has_an_id(service: LiveServer, channel: grpc.Channel) -> None:
    before = service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="ok")
    answered = infer(channel, request(b"hello"), metadata=[("x-request-id", "mine-1")])
    assert answered.metadata["x-request-id"] == "mine-1"
    assert infer(channel, request(b"hello")).metadata["x-request-id"]
    wait_until(lambda: service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="ok") == before + 2)
    refused = service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="unknown_model")
    assert infer(channel, request(b"hello", model="absent")).status == "NOT_FOUND"
    wait_until(
        lambda: service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="unknown_model") == refused + 1
    )


def test_an_alias_is_a_version(tiny_models: Path, tmp_path: Path) -> None:
    """Of requests, of what is ready, and of metadata."""
    copy_bundle(tiny_models / MODEL / "1", tmp_path)
    (tmp_path / MODEL / "rollout.json").write_text('{"aliases": {"stable": "1"}}')
    with (
        live_server(tmp_path, grpc_port=0) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}") as channel,
    ):
        answered = infer(channel, request(b"hello", model_version="stable"))
        assert pb.ModelInferResponse.FromString(answered.response).model_version == "1"
        ready = call(channel, "ModelReady", pb.ModelReadyRequest(name=MODEL, version="stable"))
        assert pb.ModelReadyResponse.FromString(ready.response).ready is True
        refused = infer(channel, request(b"hello", model_version="canary"))
        assert (refused.status, "tiny-classifier stable" in refused.message) == ("NOT_FOUND", True)


def test_each_call_is_a_line_of_the_log(channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    """With its route, model, outcome and both statuses."""
    with caplog.at_level("INFO", logger="service.requests"):
        infer(channel, request(b"hello"))
        infer(channel, request(b" "))
        wait_until(lambda: len(lines_of(caplog)) == 2)
    good, refused = lines_of(caplog)
    told = {"route": f"{SERVICE}/ModelInfer", "model": MODEL, "status": 200, "outcome": "ok"}
    assert told.items() <= good.items()
    assert (refused["outcome"], refused["grpc_status"]) == ("validation", "INVALID_ARGUMENT")


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "service.requests"]


@pytest.mark.parametrize("ending", ["deadline", "cancel"])
def test_a_call_that_its_client_gives_up_ends_here_too(service: LiveServer, channel: grpc.Channel, ending: str) -> None:
    """It leaves the room that it took, whether its deadline passed or it was cancelled."""
    stub = channel.unary_unary(f"{SERVICE}/ModelInfer")
    raw = request(b"hello").SerializeToString()
    with held_runs(service, MODEL) as begun:
        pending = stub.future(raw, timeout=PATIENCE_S if ending == "cancel" else 0.2)
        assert begun.wait(PATIENCE_S)
        if ending == "cancel":
            pending.cancel()
        wait_until(pending.done)
        wait_until(lambda: service.app.num_open == 0)
    assert pending.code().name == ("CANCELLED" if ending == "cancel" else "DEADLINE_EXCEEDED")
    assert infer(channel, request(b"hello")).status == "OK"


def test_requests_beyond_the_limit_are_refused_and_probes_are_not(tiny_models: Path) -> None:
    """The limit is that of the whole service: what is open over gRPC counts for HTTP too."""
    with (
        live_server(tiny_models, grpc_port=0, max_open_requests=1) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}") as channel,
        held_runs(own, MODEL) as begun,
    ):
        pending = channel.unary_unary(f"{SERVICE}/ModelInfer").future(request(b"hello").SerializeToString())
        assert begun.wait(PATIENCE_S)
        answered = infer(channel, request(b"hello"))
        assert (answered.status, answered.metadata["error-type"]) == ("RESOURCE_EXHAUSTED", "overloaded")
        assert answered.metadata["grpc-retry-pushback-ms"] == "1000"
        assert call(channel, "ServerLive").status == "OK"
        assert own.metric("unroll_rejections_total", reason="too_many_open") == 1
        pending.cancel()
