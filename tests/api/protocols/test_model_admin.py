"""The administration of models over HTTP, and how requests reach the version that they should."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.rollout_file import ROLLOUT_FILE
from service.inference.engines import loader
from tests.conftest import PATIENCE_S, running_service, wait_until
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

MODEL, GENERATOR = "tiny-classifier", "tiny-generator"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Path:
    """Two versions of a classifier and of a language model."""
    root = tmp_path_factory.mktemp("models")
    for name in (MODEL, GENERATOR):
        copy_bundle(tiny_models / name / "1", root)
    write_tiny_bundle(root, "classification", version="2", seed=5)
    write_tiny_bundle(root, "generation", version="2", seed=5)
    return root


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[TestClient]:
    with running_service(models, prefix_cache_bytes=0) as client:
        yield client


@pytest.fixture
def service(served: TestClient) -> Iterator[TestClient]:
    """With nothing unloaded and no rollout left by another test."""
    yield served
    for name in (MODEL, GENERATOR):
        served.post(f"/models/{name}/load", json={})
        body = served.get(f"/models/{name}/rollout").json()["rollout"]["aliases"]
        change(served, name, aliases=dict.fromkeys(body), traffic=None, shadow=None)


def change(client: TestClient, name: str = MODEL, **changes: Any) -> dict[str, Any]:
    response = client.post(f"/models/{name}/rollout", json=changes)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def answering(client: TestClient, headers: dict[str, str] | None = None, **body: Any) -> str:
    response = client.post("/predict", json={"model": MODEL, "inputs": "hello", **body}, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["version"])


def test_a_model_is_unloaded_and_loaded_over_http(service: TestClient) -> None:
    found = service.post(f"/models/{MODEL}/unload", json={"version": "2"}).json()
    assert [each["state"] for each in found["versions"]] == ["ready", "unloaded"]
    assert answering(service) == "1"
    refused = service.post("/predict", json={"model": MODEL, "inputs": "hello", "version": "2"})
    assert (refused.status_code, refused.json()["reasons"]) == (503, [f"{MODEL} version 2 is unloaded"])
    assert service.get("/health/ready").status_code == 200
    assert service.post(f"/models/{MODEL}/load", headers=JSON).status_code == 200  # an empty body is all versions
    assert answering(service) == "2"


def test_weights_split_and_the_affinity_header_or_the_caller_sticks(service: TestClient) -> None:
    change(service, aliases={"stable": "1", "canary": "2"}, traffic={"stable": 50, "canary": 50})
    assert set(Counter(answering(service) for _ in range(60))) == {"1", "2"}
    for headers in ({"X-Affinity-Key": "me"}, {"Authorization": "Bearer me"}):
        assert len({answering(service, headers) for _ in range(20)}) == 1
    keyed = Counter(answering(service, {"X-Affinity-Key": f"user {number}"}) for number in range(60))
    assert set(keyed) == {"1", "2"}
    assert answering(service, version="canary") == "2"
    listed = [each for each in service.get("/models").json()["models"] if each["name"] == MODEL]
    assert [(each["aliases"], each["traffic_share"]) for each in listed] == [(["stable"], 0.5), (["canary"], 0.5)]
    assert service.get(f"/models/{MODEL}?version=stable").json()["version"] == "1"
    metrics = service.get("/metrics").text
    assert f'unroll_version_requests_total{{model="{MODEL}",outcome="ok",version="1"}}' in metrics


def generated(client: TestClient, headers: dict[str, str] | None = None, **body: Any) -> Any:
    parameters = {"max_new_tokens": 4}
    response = client.post("/generate", json={"model": GENERATOR, "parameters": parameters, **body}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_states_and_sessions_go_on_with_the_version_they_began_with(service: TestClient) -> None:
    """By random split, after a changed weight and for callers without a name; each as if it were not split."""
    change(service, GENERATOR, traffic={"1": 50, "2": 50})
    for number in range(12):
        begun = generated(service, inputs=f"Hello {number}", return_state=True)
        assert generated(service, inputs="", state=begun["state"])["generated_text"]
        session = generated(service, inputs="Hello", session=f"chat-{number}")["session"]
        assert generated(service, inputs="", session=session)["session"] == session
    begun = generated(service, inputs="Hello", version="1", return_state=True)
    change(service, GENERATOR, traffic={"2": 1})
    assert generated(service, inputs="", state=begun["state"])["generated_text"]


def test_the_shadow_report_compares_off_the_callers_way(service: TestClient) -> None:
    change(service, traffic={"1": 1}, shadow={"to": "2", "share": 1.0})
    assert {answering(service) for _ in range(5)} == {"1"}

    def compared() -> int:
        found = service.get(f"/models/{MODEL}/shadow").json()["comparisons"]
        return int(found[0]["compared"]) if found else 0

    wait_until(lambda: compared() == 5)
    found = service.get(f"/models/{MODEL}/shadow").json()
    assert (found["candidate"], found["share"]) == ("2", 1.0)
    assert "hello" not in json.dumps(found)
    assert 'unroll_shadow_run_duration_seconds_count{model="tiny-classifier",role="candidate"} 5.0' in (
        service.get("/metrics").text
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/models/nope/load", b"{}", 404, "there is no model 'nope'"),
        ("/models/nope/unload", b"{}", 404, "there is no model 'nope'"),
        ("/models/nope/rollout", b"{}", 404, "there is no model 'nope'"),
        (f"/models/{MODEL}/load", b'{"version": "9"}', 404, "has no version '9'; there are: 1, 2"),
        (f"/models/{MODEL}/unload", b'{"version": "canary"}', 404, "has no version 'canary'"),
        (f"/models/{MODEL}/load", b'{"version": 1}', 422, "version"),
        (f"/models/{MODEL}/load", b'{"versoin": "1"}', 422, "no such field"),
        (f"/models/{MODEL}/load", b"[]", 422, ""),
        (f"/models/{MODEL}/load", b"\xff", 400, "not JSON"),
        (f"/models/{MODEL}/load", b'{"version": "' + b"1" * 100 + b'"}', 422, "version"),
        (f"/models/{MODEL}/rollout", b"", 422, ""),
        (f"/models/{MODEL}/rollout", b'{"aliases": {"stable": "9"}}', 404, "no version '9'"),
        (f"/models/{MODEL}/rollout", b'{"aliases": {"1": "1"}}', 422, "an alias is a-z"),
        (f"/models/{MODEL}/rollout", b'{"aliases": {"\\n": "1"}}', 422, "an alias is a-z"),
        (f"/models/{MODEL}/rollout", b'{"traffic": {"1": -1}}', 422, "traffic.1"),
        (f"/models/{MODEL}/rollout", b'{"traffic": {"1": NaN}}', 422, "traffic.1"),
        (f"/models/{MODEL}/rollout", b'{"traffic": {"1": 0, "2": 0}}', 422, "above 0"),
        (f"/models/{MODEL}/rollout", b'{"shadow": {"to": "2", "share": 7}}', 422, "shadow.share"),
        (f"/models/{MODEL}/rollout", b'{"shadow": {"to": "nope"}}', 422, "neither a version nor an alias"),
        ("/models/%2e%2e/load", b"{}", 404, ""),
        ("/models/..%2Fx/load", b"{}", 404, ""),
    ],
)
def test_bad_requests_are_refused_with_a_sentence(
    service: TestClient, path: str, body: bytes, status: int, sentence: str
) -> None:
    response = service.post(path, content=body, headers=JSON)
    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]
    assert answering(service) == "2"


def test_a_page_of_another_site_cannot_unload_a_model(service: TestClient) -> None:
    """What a browser sends without asking first is refused: it may only have the media types of forms."""
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        response = service.post(f"/models/{MODEL}/unload", content=b"{}", headers={"Content-Type": media_type})
        assert response.status_code == 415
    assert answering(service) == "2"


def test_a_reload_takes_over_what_is_good_and_tells_what_is_not(tmp_path: Path, tiny_models: Path) -> None:
    copy_bundle(tiny_models / MODEL / "1", tmp_path)
    with running_service(tmp_path) as client:
        assert client.post("/reload").json() == {"outcome": "unchanged", "problems": []}
        write_tiny_bundle(tmp_path, "classification", version="2", seed=5)
        assert client.post("/reload").json()["outcome"] == "ok"
        (tmp_path / MODEL / ROLLOUT_FILE).write_text("{", encoding="utf-8")
        bad = write_tiny_bundle(tmp_path, "classification", version="3", seed=6)
        (bad / "classifier.onnx").write_bytes(b"?")
        found = client.post("/reload").json()
        assert found["outcome"] == "failed"
        assert any("its sha256" in problem for problem in found["problems"])
        assert any(ROLLOUT_FILE in problem for problem in found["problems"])
        refused = client.post(f"/models/{MODEL}/load", json={"version": "3"})
        assert (refused.status_code, refused.json()["error_type"]) == (409, "bundle_refused")
        assert answering(client) == "2"


def test_the_first_request_opens_its_model_within_its_deadline(
    tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes longer is 503 with Retry-After, and the opening goes on for the next request."""
    may_open = threading.Event()

    def held(*arguments: Any, original: Any = loader._open_and_check) -> Any:
        assert may_open.wait(PATIENCE_S)
        return original(*arguments)

    monkeypatch.setattr(loader, "_open_and_check", held)
    copy_bundle(tiny_models / MODEL / "1", tmp_path)
    with running_service(tmp_path, model_memory_bytes=10**9) as client:
        assert client.get("/health/ready").status_code == 200
        (listed,) = client.get("/models").json()["models"]
        assert (listed["state"], listed["task"]) == ("idle", "classification")
        body = {"model": MODEL, "inputs": "hello"}
        late = client.post("/predict", json=body, headers={"X-Request-Timeout-Ms": "50"})
        assert (late.status_code, "Retry-After" in late.headers) == (503, True)
        assert late.json()["reasons"] == [f"{MODEL} version 1 is being opened"]
        may_open.set()
        assert client.post("/predict", json=body).json()["version"] == "1"
        assert client.get("/models").json()["models"][0]["state"] == "ready"
