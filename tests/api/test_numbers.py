"""`POST /predict` with numbers: frames and sound get the recorded answers, and errors name their field."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.api.validation.test_bad_input import expect_refused
from tests.conftest import running_service
from tests.tasks.inputs.test_wav import pcm, wav
from tests.tiny_bundles import write_tiny_bundle
from tests.tiny_signals import CONFIGS, MAX_STEPS, STEPWISE, write_tiny_signal_bundle
from training.data.records import LabelledSignal
from training.preprocessing.signal_values import wav_file

MODELS = ("tiny-motion", "tiny-sound")
FRAME = [20.0, 21.0, 19.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers") / "models"
    write_tiny_signal_bundle(root, CONFIGS["frames"], "tiny-motion")
    write_tiny_signal_bundle(root, CONFIGS["waveform"], "tiny-sound")
    write_tiny_signal_bundle(root, STEPWISE, "tiny-stream", reads_chunks=True)
    for task in ("tagging", "classification", "translation"):
        write_tiny_bundle(root, task)  # type: ignore[arg-type]
    return root


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    with running_service(models, max_body_bytes=200_000, max_sound_body_bytes=200_000) as started:
        yield started


def post(client: TestClient, **body: Any) -> Any:
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("model", MODELS)
def test_recorded_examples_are_answered_alone_and_together(client: TestClient, models: Path, model: str) -> None:
    examples = load_bundle(models / model / "1").examples
    together = post(client, model=model, inputs=[one.inputs for one in examples], parameters={"top_k": 2})
    for example, found in zip(examples, together["predictions"], strict=True):
        assert differences(example.answer, found, 1e-5) == []
        alone = post(client, model=model, inputs=example.inputs, parameters={"top_k": 2})
        assert differences(example.answer, alone["predictions"][0], 1e-5) == []


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_sound_of_another_rate_is_resampled(client: TestClient, rate_hz: int) -> None:
    """Sound at another sample rate is resampled and gets the answer of the model's own rate."""
    asked = {"model": "tiny-sound", "parameters": {"top_k": 3}}
    (own,) = post(client, **asked, inputs={"wav": tone_of(8000)})["predictions"]
    (other,) = post(client, **asked, inputs={"wav": tone_of(rate_hz)})["predictions"]
    assert differences(own, other, 0.03) == []


def tone_of(rate_hz: int) -> str:
    """A tenth of a second of a 400 Hz tone."""
    tone = 0.5 * np.sin(2 * np.pi * 400 * np.arange(rate_hz // 10) / rate_hz)
    return base64.b64encode(wav_file(LabelledSignal(tone.astype(np.float32), "", (), rate_hz))).decode()


def test_frames_may_come_in_chunks(client: TestClient) -> None:
    """Two chunks, the second resumed from the state of the first, give the answer of the whole."""
    frames = [[20.0 + step, 21.0 - step, 19.0] for step in range(8)]
    (whole,) = post(client, model="tiny-stream", inputs={"frames": frames})["predictions"]
    first = post(client, model="tiny-stream", inputs={"frames": frames[:3]}, return_state=True)
    rest = post(client, model="tiny-stream", inputs={"frames": frames[3:]}, state=first["state"])
    assert differences(whole, rest["predictions"][0], 1e-5) == []


def test_the_model_says_what_it_takes(client: TestClient) -> None:
    """`GET /models/{name}` lists the feature names and the sample rate."""
    motion, sound = (client.get(f"/models/{model}").json()["options"]["signal"] for model in MODELS)
    assert motion == {"kind": "frames", "features": ["x", "y", "z"]}
    assert (sound["kind"], sound["sample_rate_hz"]) == ("waveform", 8000)


def sound_of(**form: Any) -> str:
    return base64.b64encode(wav(pcm(16), **form)).decode()


@pytest.mark.parametrize(
    ("model", "inputs", "field", "what"),
    [
        ("tiny-motion", {"frames": []}, "inputs.frames", "empty"),
        ("tiny-motion", {"frames": [FRAME, []]}, "inputs.frames.1", "empty"),
        ("tiny-motion", {"frames": [FRAME, [1.0, True, 2.0]]}, "inputs.frames.1.1", "number"),
        ("tiny-motion", {"frames": [FRAME, [1.0, "2", 2.0]]}, "inputs.frames.1.1", "number"),
        ("tiny-motion", {"frames": [[1.0, None, 2.0]]}, "inputs.frames.0.1", "number"),
        ("tiny-motion", {"frames": [FRAME, FRAME, FRAME, [1.0]]}, "inputs.frames.3", "first frame 3"),
        ("tiny-motion", [{"frames": [FRAME]}, {"frames": [[1.0]]}], "inputs.1.frames.0", "this model takes 3: x, y, z"),
        ("tiny-motion", {"frames": [FRAME] * (MAX_STEPS + 1)}, "inputs.frames", "at most 60"),
        ("tiny-motion", {"frames": [FRAME], "rate": 5}, "inputs.rate", "no such field"),
        ("tiny-motion", {"frame": [FRAME]}, "inputs", '"frames", "wav", "png", "clip", "pictures" or "tensors"'),
        (
            "tiny-motion",
            {"frames": [FRAME, [1.0, -2e19, 2.0]]},
            "inputs.frames.1.1",
            "-2e+19; read are up to 1.8e+19",
        ),
        ("tiny-motion", [{"frames": [FRAME]}, {"frames": [[1e38, 0, 0]]}], "inputs.1.frames.0.0", "1e+38"),
        ("tiny-motion", "walking", "inputs", "not text"),
        ("tiny-motion", [{"frames": [FRAME]}, "walking"], "inputs.1", "not text"),
        ("tiny-motion", [["some", "words"]], "inputs.0", "not a list of words"),
        ("tiny-motion", {"wav": sound_of()}, "inputs", "not sound"),
        ("tiny-sound", {"frames": [FRAME]}, "inputs", "8000 Hz"),
        ("tiny-sound", {"wav": ""}, "inputs.wav", "at least 1"),
        ("tiny-sound", {"wav": 5}, "inputs.wav", "must be text"),
        ("tiny-sound", {"wav": "%%%"}, "inputs.wav", "base64"),
        ("tiny-sound", {"wav": "QUJD"}, "inputs.wav", "no sound file"),
        ("tiny-sound", [{"wav": sound_of(rate_hz=1000)}], "inputs.0.wav", "1000 Hz; sound of 4000 to 192000 Hz can be"),
        ("tiny-tagger", {"frames": [FRAME]}, "inputs", "takes text, not frames of numbers"),
        ("tiny-classifier", [{"wav": sound_of()}], "inputs.0", "takes text, not sound"),
        ("tiny-translator", {"frames": [FRAME]}, "inputs", "not frames of numbers"),
    ],
)
def test_wrong_inputs_are_refused_at_their_own_place(
    client: TestClient, model: str, inputs: Any, field: str, what: str
) -> None:
    answer = expect_refused(client, {"model": model, "inputs": inputs}, 422, field)
    assert what in answer["detail"][0]["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "-1e39"])
def test_numbers_that_are_none_are_refused(client: TestClient, number: str) -> None:
    """NaN, Infinity and values beyond float32 are refused."""
    body = '{"model": "tiny-motion", "inputs": {"frames": [[1.0, 2.0, NUMBER]]}}'.replace("NUMBER", number)
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["field"].startswith("inputs.frames.0")


@pytest.mark.parametrize("number", [1.8e18, 2.0**64, -(2.0**64)])
@pytest.mark.parametrize("model", ["tiny-motion", "tiny-stream"])
def test_numbers_that_a_series_may_hold_are_answered(client: TestClient, model: str, number: float) -> None:
    """Nanoseconds since 1970, counters of 64 bits, and up to the bound, beside small numbers."""
    frames = [[number, 0.0, -number], FRAME, [number] * 3] * 5
    assert post(client, model=model, inputs={"frames": frames})["predictions"][0]["label"]


def test_a_hundred_thousand_wrong_numbers_are_one_complaint(client: TestClient) -> None:
    """A body with many invalid numbers gets a short error with one entry."""
    answer = expect_refused(client, {"model": "tiny-motion", "inputs": {"frames": [["a"] * 20_000]}}, 422)
    assert len(answer["detail"]) == 1


def test_sound_that_lasts_too_long_is_refused_with_its_length(client: TestClient) -> None:
    long = base64.b64encode(wav(bytes(2 * 80 * (MAX_STEPS + 1)))).decode()
    answer = expect_refused(client, {"model": "tiny-sound", "inputs": {"wav": long}}, 422, "inputs.wav")
    assert "lasts 0.61 s, this model takes at most 0.60 s" in answer["error"]


def test_a_body_that_is_too_large_is_413(client: TestClient) -> None:
    answer = expect_refused(client, {"model": "tiny-sound", "inputs": {"wav": "A" * 300_000}}, 413)
    assert answer["error_type"] == "body_too_large"


def test_numbers_are_not_logged_as_text(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With text logging enabled, numeric inputs are logged by kind without their values."""
    with running_service(models, log_texts=True) as client:
        post(client, model="tiny-motion", inputs={"frames": [FRAME]})
        post(client, model="tiny-motion", inputs=[{"frames": [FRAME]}])
    assert "21.0" not in caplog.text


def test_the_documentation_has_both_forms(client: TestClient) -> None:
    """OpenAPI describes both input objects, and its examples are valid requests."""
    openapi = client.get("/openapi.json").json()
    assert {"FramesObject", "WavObject"} <= openapi["components"]["schemas"].keys()
    examples = openapi["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    sound = examples["sound"]["value"] | {"model": "tiny-sound"}
    assert client.post("/predict", json=sound).status_code == 200
