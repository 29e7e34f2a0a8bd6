"""Frames, sound, pictures, words and forecasts as tensors have the answers of `POST /predict`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.protocols.open_inference.requests import (
    HEADER,
    binary,
    data_of,
    infer,
    raw_input,
    raw_texts,
    tensor,
    text,
)
from tests.conftest import running_service
from tests.tasks.inputs.test_wav import pcm, wav
from tests.tiny_bundles import write_tiny_bundle
from tests.tiny_pictures import as_json, shape_picture
from tests.tiny_signals import CONFIGS, RATE_HZ, write_tiny_signal_bundle
from tests.training.tiny_captioner import captioner, publish_captioner
from tests.training.tiny_series import forecaster, publish_forecaster

FRAMES = [[20.0, 21.0, 19.0], [20.5, 21.5, 19.5], [20.1, 21.2, 19.3]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("tensors") / "models"
    write_tiny_bundle(root, "tagging")
    write_tiny_bundle(root, "parsing")
    write_tiny_signal_bundle(root, CONFIGS["frames"], "tiny-motion")
    write_tiny_signal_bundle(root, CONFIGS["waveform"], "tiny-sound")
    publish_captioner(captioner(), root)
    publish_forecaster(forecaster(mixing="joint", quantiles=(0.1, 0.5, 0.9)), root)
    with running_service(root) as started:
        yield started


def predicted(client: TestClient, model: str, *inputs: Any) -> list[dict[str, Any]]:
    response = client.post("/predict", json={"model": model, "inputs": list(inputs)})
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["predictions"]
    return answers


def name_of(client: TestClient, task: str) -> str:
    return next(model["name"] for model in client.get("/models").json()["models"] if model["task"] == task)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_frames_of_different_lengths_are_rows_with_lengths(client: TestClient, datatype: str) -> None:
    """What lies beyond the length of a row has no effect."""
    plain = predicted(client, "tiny-motion", {"frames": FRAMES}, {"frames": FRAMES[:2]})
    flat = [number for row in (*FRAMES, *FRAMES[:2], [7.0, 7.0, 7.0]) for number in row]
    frames, lengths = tensor("frames", flat, [2, 3, 3], datatype), tensor("lengths", [3, 2], [2], "INT32")
    found = data_of(client, "tiny-motion", frames, lengths)
    assert found["label"] == [answer["label"] for answer in plain]
    assert found["score"] == pytest.approx([answer["score"] for answer in plain], rel=1e-5)


def test_half_precision_is_widened(client: TestClient) -> None:
    raw = np.array(FRAMES, np.float16).tobytes()
    content, sent = binary({"inputs": [raw_input(raw, "frames", [1, 3, 3], "FP16")]}, raw)
    found = client.post("/v2/models/tiny-motion/infer", content=content, headers=sent).json()
    (plain,) = predicted(client, "tiny-motion", {"frames": np.array(FRAMES, np.float16).tolist()})
    assert found["outputs"][0]["data"] == [plain["label"]]


def test_sound_comes_as_samples_or_as_files(client: TestClient) -> None:
    """A wave file as raw bytes or in base64, and its samples, have the same answer."""
    samples = np.round(9000 * np.sin(np.arange(800) / 3)) / 2**15
    file = wav(pcm(16, samples), bits=16, rate_hz=RATE_HZ)
    written = base64.b64encode(file).decode()
    (plain,) = predicted(client, "tiny-sound", {"wav": written})
    as_numbers = tensor("samples", samples.tolist(), [1, 800], "FP32")
    content, sent = binary({"inputs": [raw_input(raw_texts(file), "wav")]}, raw_texts(file))
    as_file = client.post("/v2/models/tiny-sound/infer", content=content, headers=sent).json()["outputs"][0]["data"]
    assert data_of(client, "tiny-sound", as_numbers)["label"] == [plain["label"]]
    assert data_of(client, "tiny-sound", text(written, name="wav"))["label"] == as_file == [plain["label"]]


def test_pictures_come_as_files(client: TestClient) -> None:
    model, picture = name_of(client, "captioning"), as_json(shape_picture("blue", "bar"))
    (plain,) = predicted(client, model, picture)
    raw = raw_texts(base64.b64decode(picture["png"]))
    content, sent = binary({"inputs": [raw_input(raw, "image")]}, raw)
    found = client.post(f"/v2/models/{model}/infer", content=content, headers=sent).json()["outputs"][0]
    assert (found["name"], found["data"]) == ("text_output", [plain["text"]])
    assert data_of(client, model, text(picture["png"], name="image"))["text_output"] == [plain["text"]]


def test_forecasts_have_steps_and_quantiles(client: TestClient) -> None:
    model = name_of(client, "forecasting")
    described = client.get(f"/v2/models/{model}").json()
    details = client.get(f"/models/{model}").json()["options"]
    channels, look_back = len(details["channels"]), details["look_back"]
    window = np.linspace(1, 3, look_back * channels).reshape(look_back, channels).tolist()
    (plain,) = predicted(client, model, {"frames": window})
    found = infer(client, model, tensor("frames", window and [window], [1, look_back, channels], "FP32"))
    assert found["forecast"]["shape"] == [1, details["horizon"], len(details["targets"])]
    assert found["forecast"]["data"] == pytest.approx(np.array(plain["forecast"]).reshape(-1), rel=1e-5)
    assert found["quantiles"]["shape"] == [1, *described["outputs"][1]["shape"][1:]]


def test_words_are_rows_that_end_with_empty_ones(client: TestClient) -> None:
    (long, short) = predicted(client, "tiny-tagger", ["The", "cat", "sat"], ["hello"])
    words = tensor("words", [["The", "cat", "sat"], ["hello", "", ""]], [2, 3])
    found = data_of(client, "tiny-tagger", words)
    assert found["tags"] == [*(token["tag"] for token in long["tokens"]), short["tokens"][0]["tag"], "", ""]
    assert found["offsets"] == [-1] * 12


def test_trees_have_heads_relations_and_conllu_on_request(client: TestClient) -> None:
    """A head is an index, -1 for the root and beyond the last word; words may be sent as such."""
    (long, short) = predicted(client, "tiny-parser", ["The", "cat", "sat"], ["hello"])
    words = tensor("words", [["The", "cat", "sat"], ["hello", "", ""]], [2, 3])
    found = data_of(client, "tiny-parser", words)
    heads = [-1 if token["head"] is None else token["head"] for token in long["tokens"]]
    assert found["heads"] == [*heads, -1, -1, -1]
    for name, key in (("relations", "relation"), ("features", "features"), ("tags", "tag"), ("lemmas", "lemma")):
        assert found[name] == [*(token[key] for token in long["tokens"]), short["tokens"][0][key], "", ""]
    assert found["head_scores"][3] == pytest.approx(short["tokens"][0]["head_score"], abs=1e-6)
    assert found["relation_scores"][0] == pytest.approx(long["tokens"][0]["relation_score"], abs=1e-6)
    assert "conllu" not in found
    asked = data_of(client, "tiny-parser", words, outputs=[{"name": "conllu"}])["conllu"]
    assert [one.count("\n") for one in asked] == [5, 3]


def test_a_text_without_spans_has_none(client: TestClient) -> None:
    """An axis of size 0, in JSON and as bytes."""
    found = infer(client, "tiny-tagger", text("hello"), outputs=[{"name": "span_labels"}, {"name": "span_offsets"}])
    spans = predicted(client, "tiny-tagger", "hello")[0]["spans"]
    assert found["span_offsets"]["shape"] == [1, len(spans), 2]
    whole = {"inputs": [text("hello")], "parameters": {"binary_data_output": True}}
    response = client.post("/v2/models/tiny-tagger/infer", json=whole)
    assert response.headers["content-type"] == "application/octet-stream"
    assert 0 < int(response.headers[HEADER]) < len(response.content)


@pytest.mark.parametrize(
    ("model", "name", "data", "shape", "sentence"),
    [
        ("tiny-motion", "frames", [1.0] * 6, [1, 3, 2], "the shape is [batch, time, 3], not [1, 3, 2]"),
        ("tiny-motion", "frames", [1.0, float("inf"), 1.0], [1, 1, 3], "inputs.frames.0: a number is not finite"),
        ("tiny-motion", "frames", [1.0, 1e39, 1.0], [1, 1, 3], "too large for 32 bits"),
        ("tiny-sound", "samples", [0.1], [1], "the shape is [batch, time]"),
        ("tiny-sound", "samples", [0.1] * 300_000, [1, 300_000], "the sound lasts"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    client: TestClient, model: str, name: str, data: list[float], shape: list[int], sentence: str
) -> None:
    content = str({"inputs": [tensor(name, data, shape, "FP32")]}).replace("'", '"').replace("inf", "1e999")
    response = client.post(f"/v2/models/{model}/infer", content=content)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_files_that_are_none_are_refused(client: TestClient) -> None:
    for model, name, sentence in (
        ("tiny-sound", "wav", "inputs.wav.0: this is no sound file"),
        (name_of(client, "captioning"), "image", "inputs.image.0: this is no PNG file"),
    ):
        response = client.post(f"/v2/models/{model}/infer", json={"inputs": [text("abcd", name=name)]})
        assert response.status_code == 400
        assert sentence in response.json()["error"]
