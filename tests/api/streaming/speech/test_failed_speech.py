"""A model for speech that failed to load is told as such, with the reason, by every protocol that can name it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.protocols.open_inference.grpc_service.status import refusal_of
from service.api.request_record import RequestRecord
from service.errors import NotReady
from tests.api.streaming.speech.test_speech_protocols import FILE
from tests.conftest import running_service

MODEL, REASON = "tiny-speech", "encoder.onnx is missing"


@pytest.fixture(scope="module")
def client(stream_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Beside the failed model for speech: one that answers, and one whose manifest cannot be read."""
    models = tmp_path_factory.mktemp("failed") / "models"
    for name in (MODEL, "tiny-tagger", "tiny-classifier"):
        shutil.copytree(stream_models / name, models / name)
    (models / MODEL / "1" / "encoder.onnx").unlink()
    (models / "tiny-classifier" / "1" / "manifest.json").write_text("{")
    with running_service(models) as started:
        yield started


def transcribe(client: TestClient, **fields: str) -> Any:
    return client.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", FILE)})


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: transcribe(client, model=MODEL),
        lambda client: transcribe(client, model="whisper-1"),
        transcribe,
        lambda client: client.post("/predict", json={"model": MODEL, "inputs": {"wav": "x"}}),
        lambda client: client.post(f"/models/{MODEL}", content=FILE, headers={"Content-Type": "audio/wav"}),
        lambda client: client.post(f"/v1/models/{MODEL}:predict", json={"instances": [{"wav": "x"}]}),
        lambda client: client.post(f"/v2/models/{MODEL}/infer", json={"inputs": []}),
    ],
)
def test_it_is_not_ready_and_says_why(client: TestClient, ask: Callable[[TestClient], Any]) -> None:
    response = ask(client)
    assert response.status_code == 503, response.text
    assert f"{MODEL} version 1 failed: " in response.text
    assert REASON in response.text


def test_a_model_of_another_task_still_does_not_transcribe(client: TestClient) -> None:
    assert "tiny-tagger does not transcribe" in transcribe(client, model="tiny-tagger").json()["error"]["message"]
    unreadable = transcribe(client, model="tiny-classifier")
    assert (unreadable.status_code, "manifest.json" in unreadable.text) == (503, True)


def test_the_list_of_models_has_the_task_that_the_manifest_names(client: TestClient) -> None:
    listed = {model["name"]: model["task"] for model in client.get("/models").json()["models"]}
    assert listed == {MODEL: "transcription", "tiny-tagger": "tagging", "tiny-classifier": None}


def test_a_status_of_grpc_says_why_too() -> None:
    """It has no place for reasons but its message."""
    refusal = refusal_of(RequestRecord.of("", ()), NotReady("it is not ready", ["it failed", "and so did that"]))
    assert refusal.message == "it is not ready: it failed; and so did that"
