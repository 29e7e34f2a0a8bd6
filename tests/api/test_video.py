"""`POST /predict` with clips: answers, validation and the model's description."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.tasks.inputs.clips.tiny_clips import apng_of, as_json, as_pictures, gif_of, square_clip, square_clips
from tests.tiny_pictures import as_json as picture_json
from tests.tiny_pictures import shape_picture
from tests.training.tiny_video import LABELS, publish_video, video_captioner

FRAMES = square_clip("blue", ("moves left", "stays"))
CLIP = as_json(gif_of(FRAMES))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video") / "models"
    publish_video(video_captioner(), folder)
    return folder


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[TestClient]:
    with running_service(models) as client:
        yield client


def predictions(client: TestClient, inputs: object, **parameters: Any) -> list[dict[str, Any]]:
    response = client.post("/predict", json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    assert response.json()["task"] == "video"
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def test_the_recorded_clips_are_described_as_recorded(models: Path, served: TestClient) -> None:
    """Captions, actions, attention and moments over HTTP match those recorded from torch."""
    for example in load_bundle(models / "tiny-video" / "1").examples:
        assert differences([example.answer], predictions(served, example.inputs, **example.parameters), 1e-4) == []


def test_a_clip_is_the_same_in_every_form(served: TestClient) -> None:
    """GIF, animated PNG and a list of PNG files get one answer, together and alone, and a picture is a clip too."""
    forms = [CLIP, as_json(apng_of(FRAMES)), as_pictures(FRAMES)]
    together = predictions(served, forms)
    assert differences(predictions(served, forms[2]), together[2:], 1e-5) == []
    # A GIF file has frames that stay only once.
    said = [{key: answer[key] for key in ("text", "score", "action", "next_action")} for answer in together]
    assert differences([said[0]] * 3, said, 1e-5) == []
    (one,) = predictions(served, {"clip": picture_json(shape_picture("red", "bar"))["png"]})
    assert (one["num_frames"], one["frames"]) == (1, [0])


def test_an_answer_says_what_is_done_and_how_much_was_read(served: TestClient) -> None:
    """Actions are labels with probabilities; of 40 frames five are read, evenly spread."""
    long = gif_of(square_clip("red", ("moves left", "moves right"), 40, side=60))
    (answer,) = predictions(served, as_json(long), num_beams=1, return_score=False)
    assert answer.keys() == {"text", "action", "next_action", "num_frames", "frames"}
    assert answer["num_frames"] == 40
    assert answer["frames"] == [4, 12, 20, 28, 36]
    for told in (answer["action"], answer["next_action"]):
        assert told["label"] in LABELS
        assert 1 / 3 <= told["score"] <= 1


def test_attention_is_over_time_and_places_and_moments_over_time(served: TestClient) -> None:
    """Weights are a map of every frame for each token and sum to 1; the last moment is what the answer says."""
    (answer,) = predictions(served, CLIP, return_attention=True, return_moments=True, num_beams=3)
    attention, moments = answer["attention"], answer["moments"]
    assert (attention["rows"], attention["columns"]) == (2, 3)
    for weights in attention["weights"]:
        assert [len(frame) for frame in weights] == [6] * 5
        assert sum(map(sum, weights)) == pytest.approx(1.0, abs=1e-5)
    assert len(attention["weights"]) == len(attention["tokens"])
    assert moments["labels"] == list(LABELS)
    for name in ("action", "next_action"):
        assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in moments[name])
        assert len(moments[name]) == 5
        assert max(moments[name][-1]) == pytest.approx(answer[name]["score"])


@pytest.mark.parametrize(
    ("inputs", "field", "reason"),
    [
        ({"clip": "@"}, "inputs.clip", "this is not base64"),
        ({"clip": base64.b64encode(b"\xff\xd8\xff").decode()}, "inputs.clip", "no clip but a JPEG file"),
        ([CLIP, {"clip": CLIP["clip"][:200]}], "inputs.1.clip", "cut short"),
        ({"clip": ""}, "inputs.clip", "at least 1 character"),
        ({"pictures": []}, "inputs.pictures", "is empty"),
        ({"pictures": [as_pictures(FRAMES)["pictures"][0], "R0lGODlh"]}, "inputs.pictures.1", "a GIF file"),
        ({"pictures": [as_pictures(FRAMES)["pictures"][0], "@"]}, "inputs.pictures.1", "not base64"),
        ({"clip": CLIP["clip"], "png": "x"}, "inputs", ""),
        (picture_json(shape_picture("red", "bar")), "inputs", "takes a clip"),
        ("a cat jumps", "inputs", "takes a clip"),
        ({"frames": [[1.0]]}, "inputs", "not frames of numbers"),
    ],
)
def test_what_cannot_be_described_is_a_422_with_its_path(
    inputs: object, field: str, reason: str, served: TestClient
) -> None:
    response = served.post("/predict", json={"inputs": inputs})
    assert response.status_code == 422
    found = response.json()["detail"][0]
    assert found["field"].startswith(field)
    assert reason in found["message"] + response.json()["error"]


def test_the_pixels_of_all_clips_of_a_request_are_bounded(models: Path) -> None:
    """Clips count with all their frames; the one that is too much is named with its key."""
    with running_service(models, max_pixels_per_request=2000) as client:
        assert client.post("/predict", json={"inputs": CLIP}).status_code == 200
        for second, key in ((CLIP, "clip"), (as_pictures(FRAMES), "pictures")):
            refused = client.post("/predict", json={"inputs": [CLIP, second]})
            assert refused.status_code == 422
            assert refused.json()["detail"][0]["field"] == f"inputs.1.{key}"
            assert "UNROLL_MAX_PIXELS_PER_REQUEST" in refused.json()["error"]


def test_the_model_says_what_it_takes_and_counts_what_it_looked_at(served: TestClient) -> None:
    """The model route and card describe size, grid and actions, and places are counted as tokens read."""
    details = served.get("/models/tiny-video").json()
    options = details["options"]
    assert details["task"] == options["task"] == "video"
    assert (options["image_rows"], options["image_columns"], options["max_frames"]) == (16, 24, 5)
    assert (options["grid_rows"], options["grid_columns"]) == (2, 3)
    assert details["labels"] == list(LABELS)
    assert "brought to 24 x 16 pixels" in details["card"]
    assert "`moves left`" in details["card"]
    predictions(served, CLIP)
    assert 'unroll_read_tokens_total{model="tiny-video"}' in served.get("/metrics").text
    required = served.get("/openapi.json").json()["components"]["schemas"]["VideoAnswer"]["required"]
    assert {"text", "action", "next_action", "frames"} <= set(required)


def test_clips_travel_through_other_protocols(served: TestClient) -> None:
    """As a tensor of files, as an instance in base64, and as the body of a client for Hugging Face endpoints."""
    (wanted,) = predictions(served, CLIP)
    tensor = {"name": "clip", "shape": [1], "datatype": "BYTES", "data": [CLIP["clip"]]}
    inferred = served.post("/v2/models/tiny-video/infer", json={"inputs": [tensor]})
    assert inferred.status_code == 200, inferred.text
    outputs = {output["name"]: output["data"][0] for output in inferred.json()["outputs"]}
    assert outputs["text_output"] == wanted["text"]
    assert outputs["next_action"] == wanted["next_action"]["label"]
    assert outputs["action_score"] == pytest.approx(wanted["action"]["score"], abs=1e-5)
    instance = served.post("/v1/models/tiny-video:predict", json={"instances": [{"b64": CLIP["clip"]}]})
    assert instance.json()["predictions"][0]["action"]["label"] == wanted["action"]["label"]
    body = base64.b64decode(CLIP["clip"])
    piped = served.post("/models/tiny-video", content=body, headers={"content-type": "image/gif"})
    assert piped.status_code == 200, piped.text
    assert piped.json()[0]["generated_text"] == wanted["text"]
    assert piped.json()[0]["next_action"]["label"] == wanted["next_action"]["label"]


def test_a_clip_cannot_be_sent_in_parts(served: TestClient) -> None:
    response = served.post("/predict", json={"inputs": CLIP, "return_state": True})
    assert response.status_code == 422
    assert "looks at all frames of a clip" in response.json()["error"]


def test_many_clips_get_what_each_gets_alone(served: TestClient) -> None:
    """Twenty clips of different lengths in one request get the same answers, in order, as one by one."""
    inputs = [as_json(gif_of(record.frames[: 1 + n % 6])) for n, record in enumerate(square_clips(20))]
    together = predictions(served, inputs)
    assert len(together) == 20
    alone = [predictions(served, each)[0] for each in inputs[:6]]
    assert differences(alone, together[:6], 1e-5) == []
