"""Repository, readiness, statistics and settings of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.protocols.open_inference.requests import infer, text
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

LOAD = "/v2/repository/models/tiny-classifier/load"
UNLOAD = "/v2/repository/models/tiny-classifier/unload"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "models", "classification")
    write_tiny_bundle(tmp_path / "models", "tagging")
    return tmp_path / "models"


@pytest.fixture
def own(models: Path) -> Iterator[TestClient]:
    with running_service(models) as started:
        yield started


def states(client: TestClient, body: str = "") -> dict[str, str]:
    index = client.post("/v2/repository/index", content=body).json()
    return {f"{entry['name']} {entry['version']}": entry["state"] for entry in index}


def test_a_model_is_unloaded_and_loaded_by_name(own: TestClient) -> None:
    assert own.post(UNLOAD, json={"parameters": {"unload_dependents": True}}).json() == {}
    assert states(own)["tiny-classifier 1"] == "UNAVAILABLE"
    assert list(states(own, '{"ready": true}')) == ["tiny-tagger 1"]
    assert own.get("/v2/models/tiny-classifier/ready").status_code == 503
    refused = own.post("/v2/models/tiny-classifier/infer", json={"inputs": [text("hello")]})
    assert refused.status_code == 503
    assert own.get("/v2/models/tiny-classifier").status_code == 503
    assert own.post(LOAD, content=b"").json() == {}
    assert own.get("/v2/models/tiny-classifier/versions/1/ready").json() == {"name": "tiny-classifier", "ready": True}
    assert infer(own, "tiny-classifier", text("hello"))["label"]["data"]


def test_a_new_version_answers_once_it_is_loaded(own: TestClient, models: Path) -> None:
    write_tiny_bundle(models, "classification", version="2", seed=1)
    assert own.get("/v2/models/tiny-classifier").json()["versions"] == ["1"]
    own.post(LOAD)
    assert own.get("/v2/models/tiny-classifier").json()["versions"] == ["1", "2"]
    body = {"inputs": [text("hello")]}
    assert own.post("/v2/models/tiny-classifier/infer", json=body).json()["model_version"] == "2"
    assert own.post("/v2/models/tiny-classifier/versions/1/infer", json=body).json()["model_version"] == "1"


def test_a_bad_bundle_replaces_nothing(own: TestClient, models: Path) -> None:
    (models / "tiny-classifier" / "1" / "classifier.onnx").write_bytes(b"nothing")
    refused = own.post(LOAD)
    assert (refused.status_code, refused.json()["error_type"]) == (409, "bundle_refused")
    assert infer(own, "tiny-classifier", text("hello"))["label"]["data"]


@pytest.mark.parametrize("body", ['{"parameters": {"config": "{}"}}', '{"parameters": {"file:1/a.onnx": "YQ=="}}'])
def test_files_in_a_request_are_refused(client: TestClient, body: str) -> None:
    response = client.post("/v2/repository/models/tiny-classifier/load", content=body)
    assert response.status_code == 400
    assert "copy its bundle there" in response.json()["error"]


def test_unknown_names_and_bodies_that_are_none(client: TestClient) -> None:
    for path in ("/v2/repository/models/absent/load", "/v2/repository/models/absent/unload"):
        assert client.post(path).status_code == 404
    for path in ("/v2/models/absent/ready", "/v2/models/absent/stats", "/v2/models/absent/config", "/v2/models/a.b"):
        assert client.get(path).status_code == 404
    assert client.post("/v2/repository/index", content="[1]").status_code == 400
    assert client.post("/v2/repository/index", content=" " * 100_000 + "[").status_code == 400


def test_health_has_the_fields_that_clients_read(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.head("/v2/health/ready").status_code == 200


def test_statistics_are_of_one_version_and_count_failures(own: TestClient, models: Path) -> None:
    for _ in range(3):
        infer(own, "tiny-classifier", text("hello", "world"))
    own.post("/v2/models/tiny-classifier/infer", json={"inputs": [text(" ")]})
    own.post("/predict", json={"model": "tiny-classifier", "inputs": "hello"})
    write_tiny_bundle(models, "classification", version="2")
    own.post(LOAD)
    first, second = own.get("/v2/models/tiny-classifier/stats").json()["model_stats"]
    assert (first["version"], first["inference_count"], first["inference_stats"]["success"]["count"]) == ("1", 7, 4)
    assert first["inference_stats"]["fail"]["count"] == 1
    assert first["last_inference"] > 0
    assert (second["version"], second["inference_count"], second["execution_count"]) == ("2", 0, 0)


def test_requests_are_counted_by_protocol(own: TestClient) -> None:
    infer(own, "tiny-classifier", text("hello"))
    own.post("/v1/models/tiny-classifier:predict", json={"instances": [1]})
    lines = own.get("/metrics").text
    assert 'unroll_protocol_requests_total{outcome="ok",protocol="open-inference"} 1.0' in lines
    assert 'unroll_protocol_requests_total{outcome="validation",protocol="kserve-v1"} 1.0' in lines
