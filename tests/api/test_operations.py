"""Models, health, metrics and documentation, with healthy and with damaged bundles."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import EXAMPLES_FILE, read_manifest
from service.bundle.write import write_manifest
from service.observability.metrics import FAILED_OUTCOMES
from tests.conftest import PATIENCE_S, running_service, wait_until
from tests.tiny_bundles import copy_bundle, renew_digests


def remove_graph(bundle: Path) -> None:
    (bundle / "classifier.onnx").unlink()


def change_tokenizer(bundle: Path) -> None:
    file = bundle / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8") + " ", encoding="utf-8")


def truncate_graph(bundle: Path) -> None:
    file = bundle / "classifier.onnx"
    file.write_bytes(file.read_bytes()[:-400])
    renew_digests(bundle)


def falsify_an_answer(bundle: Path) -> None:
    file = bundle / EXAMPLES_FILE
    first, *others = file.read_text(encoding="utf-8").splitlines()
    example = json.loads(first)
    example["answer"]["score"] += 0.01
    file.write_text("\n".join([json.dumps(example), *others]), encoding="utf-8")
    renew_digests(bundle)


def remove_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def rename_in_manifest(bundle: Path) -> None:
    write_manifest(bundle, read_manifest(bundle).model_copy(update={"name": "another"}))


def edit_manifest(bundle: Path) -> None:
    file = bundle / "manifest.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"greeting"', '"farewell"'), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_graph, "classifier.onnx is missing"),
        (change_tokenizer, "tokenizer.json: its sha256"),
        (truncate_graph, "classifier.onnx: not a graph"),
        (falsify_an_answer, "example 1: answer.score"),
        (remove_manifest, "no manifest.json"),
        (rename_in_manifest, "its manifest says another/1"),
        (edit_manifest, "manifest.json: was changed after publishing"),
    ],
)
def test_a_damaged_bundle_keeps_the_service_from_being_ready(
    tmp_path: Path,
    tiny_models: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    """/health/ready, /models, the log and the error name the damaged bundle and the reason; healthy models answer."""
    copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path)
    damage(copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path))
    with caplog.at_level(logging.ERROR), running_service(tmp_path) as client:
        ready = client.get("/health/ready")
        failed = client.post("/predict", json={"model": "tiny-classifier", "inputs": "hello"})
        healthy = client.post("/predict", json={"model": "tiny-tagger", "inputs": "hello"})
        listed = {model["name"]: model for model in client.get("/models").json()["models"]}
        described = client.get("/models/tiny-classifier").json()
        metrics = client.get("/metrics").text
    assert ready.status_code == 503
    assert reason in ready.json()["reasons"][0]
    assert ready.json()["reasons"][0].startswith("tiny-classifier version 1 failed")
    assert failed.status_code == 503
    assert "Retry-After" in failed.headers
    assert reason in failed.json()["reasons"][0]
    assert healthy.status_code == 200
    assert (listed["tiny-classifier"]["state"], listed["tiny-tagger"]["state"]) == ("failed", "ready")
    assert reason in described["reason"]
    assert any(reason in str(getattr(record, "reason", "")) for record in caplog.records)
    assert "unroll_ready 0.0" in metrics
    assert 'unroll_parity_passed{model="tiny-classifier",version="1"} 0.0' in metrics


def test_no_models_is_not_ready_and_says_so(tmp_path: Path) -> None:
    with running_service(tmp_path) as client:
        assert "there are no bundles" in client.get("/health/ready").json()["reasons"][0]
        assert client.get("/health/live").status_code == 200
        assert client.get("/models").json() == {"models": []}
        assert client.post("/predict", json={"model": "x", "inputs": "a"}).status_code == 404


def test_a_missing_models_folder_is_not_ready_and_says_so(tmp_path: Path) -> None:
    with running_service(tmp_path / "nowhere") as client:
        assert "no such folder" in client.get("/health/ready").json()["reasons"][0]


def test_a_healthy_service_is_ready(client: TestClient) -> None:
    assert client.get("/health/ready").json() == {"status": "ready", "reasons": []}


def test_a_model_is_described_with_card_limits_scores_and_parameters(client: TestClient) -> None:
    described = client.get("/models/tiny-tagger").json()
    assert described["card"].startswith("# tiny-tagger")
    assert described["limits"] == {"max_input_tokens": 40, "max_new_tokens": 30}
    assert described["scores"][0]["baseline"] == 25.0
    assert described["options"]["scheme"] == "bio"
    assert described["versions"] == ["1"]
    assert described["provider"] == "CPUExecutionProvider"
    assert client.get("/models/tiny-classifier").json()["parameters"]["properties"].keys() == {
        "normalize",
        "return_hidden",
        "top_k",
    }


def test_an_unknown_model_or_version_cannot_be_described(client: TestClient) -> None:
    assert client.get("/models/nope").status_code == 404
    assert client.get("/models/tiny-tagger", params={"version": "7"}).status_code == 404


def test_metrics_count_requests_by_outcome(client: TestClient) -> None:
    """Two equal requests raise their counter by two, and no other counter."""

    def count(outcome: str) -> float:
        name = f'unroll_requests_total{{model="tiny-classifier",outcome="{outcome}",task="classification"}} '
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
        return float(lines[0].removeprefix(name)) if lines else 0.0

    before = count("ok"), count("validation")
    for text in ("hello", "world", ""):
        client.post("/predict", json={"model": "tiny-classifier", "inputs": text})
    assert (count("ok"), count("validation")) == (before[0] + 2, before[1] + 1)


@pytest.mark.parametrize(
    "name",
    [
        'unroll_stage_duration_seconds_bucket{le="0.0001",model="tiny-classifier",stage="queue"}',
        'unroll_batch_size_bucket{le="1.0",model="tiny-classifier"}',
        'unroll_batch_padding_ratio_count{model="tiny-classifier"}',
        'unroll_queue_depth{model="tiny-classifier"} 0.0',
        'unroll_slots{model="tiny-generator"} 64.0',
        "unroll_ready 1.0",
        'provider="CPUExecutionProvider"',
        'unroll_parity_passed{model="tiny-classifier",version="1"} 1.0',
    ],
)
def test_metrics_show_stages_batches_and_bundles(client: TestClient, name: str) -> None:
    client.post("/predict", json={"model": "tiny-classifier", "inputs": "hello"})
    assert name in client.get("/metrics").text


def test_failures_are_counted_from_zero(tiny_models: Path) -> None:
    """Failure counters exist with value 0, because Prometheus misses the increase of a series that starts at 1."""
    with running_service(tiny_models) as client:
        text = client.get("/metrics").text
    for model, task in (("tiny-tagger", "tagging"), ("none", "none")):
        for outcome in ("ok", *FAILED_OUTCOMES):
            assert f'unroll_requests_total{{model="{model}",outcome="{outcome}",task="{task}"}} 0.0' in text


def test_the_objectives_count_the_outcomes_that_the_service_calls_failed() -> None:
    rules = (Path(__file__).parents[2] / "deploy/prometheus/rules/objectives.yml").read_text(encoding="utf-8")
    assert f'outcome=~"{"|".join(FAILED_OUTCOMES)}"' in rules


def test_metrics_come_in_the_format_that_is_asked_for(client: TestClient) -> None:
    """OpenMetrics with exemplars is served to clients that accept it, else the Prometheus text format."""
    asked = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    plain = client.get("/metrics")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain")
    assert "# EOF" not in plain.text


def test_metrics_tell_of_drift(tiny_models: Path) -> None:
    """Drift metrics count tokens read, unknown tokens and predicted labels, and record confidence."""
    with running_service(tiny_models) as client:
        texts = ["hello qqqq", "hello world"]
        answer = client.post("/predict", json={"model": "tiny-classifier", "inputs": texts}).json()
        client.post("/predict", json={"model": "tiny-tagger", "inputs": ["hello", "world"]})
        registry = client.app.state.metrics.registry  # type: ignore[attr-defined]
    labels = Counter(prediction["label"] for prediction in answer["predictions"])
    model = {"model": "tiny-classifier"}
    assert registry.get_sample_value("unroll_read_tokens_total", model) == 4
    assert registry.get_sample_value("unroll_unknown_tokens_total", model) == 1
    assert registry.get_sample_value("unroll_prediction_confidence_count", model) == 2
    for label, count in labels.items():
        assert registry.get_sample_value("unroll_predicted_labels_total", {**model, "label": label}) == count
    assert registry.get_sample_value("unroll_prediction_confidence_count", {"model": "tiny-tagger"}) == 2


def test_metrics_tell_how_the_process_does(client: TestClient) -> None:
    """Process metrics exist with plausible values from startup on."""
    values = dict(re.findall(r"^(unroll_\S+) (\S+)$", client.get("/metrics").text, re.MULTILINE))
    assert values["unroll_lanes"] == "2.0"
    assert float(values["unroll_lane_busy_seconds_total"]) >= 0
    assert float(values["unroll_memory_limit_bytes"]) > 2**20
    assert float(values["unroll_start_seconds"]) > 0
    assert float(values["unroll_max_open_requests"]) == 1024
    assert float(values["unroll_open_requests"]) == 1  # this scrape
    assert values["unroll_last_reload_successful"] == "1.0"
    assert {'unroll_state_tokens_total{event="sealed"}', "unroll_event_loop_lag_seconds_count"} <= values.keys()


def test_a_run_that_never_ends_makes_the_service_not_live(tiny_models: Path) -> None:
    """A hanging run fails the liveness probe, while loading and draining do not."""
    with running_service(tiny_models, lanes=1, max_run_s=0.05, default_timeout_ms=2_000) as client:
        state, hold = client.app.state, threading.Event()  # type: ignore[attr-defined]
        engine = state.registry.entry("tiny-classifier").engine
        run, engine._queue._run = engine._queue._run, lambda examples: hold.wait(PATIENCE_S) and run(examples)
        assert client.get("/health/live").json() == {"status": "live", "reasons": []}
        assert client.post("/predict", json={"model": "tiny-classifier", "inputs": "hello"}).status_code == 504
        stuck = client.get("/health/live")
        hold.set()
        wait_until(lambda: client.get("/health/live").status_code == 200)
    assert (stuck.status_code, stuck.json()["status"]) == (503, "not_live")
    assert "a run has been going on" in stuck.json()["reasons"][0]


def test_every_route_is_documented_with_an_example(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/predict", "/generate", "/generate_stream", "/models", "/models/{name}", "/health/ready"}
    for path, methods in paths.items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert "example" in json.dumps(operation), path
    page = client.get("/docs")
    assert page.status_code == 200
    # The scripts are served locally, so that the page works without internet access.
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert all(client.get(source).status_code == 200 for source in sources)
    assert "://" not in "".join(sources)


def test_what_a_caller_sent_is_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="service"):
        client.post("/predict", json={"model": "tiny-classifier", "inputs": "my secret words"})
        client.post("/predict", json={"model": "my secret model", "inputs": "x"})
    (line,) = [record for record in caplog.records if getattr(record, "model", "") == "tiny-classifier"]
    assert (line.outcome, line.status, line.route) == ("ok", 200, "/predict")
    assert "secret" not in " ".join(str(vars(record)) for record in caplog.records)
