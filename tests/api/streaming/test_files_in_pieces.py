"""Clips and pictures over WebSocket: files that are cut anywhere have the answers that they get as a whole."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.streaming.conftest import Client, stream_of
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server
from tests.tasks.inputs.clips.tiny_clips import apng_of, gif_of, square_clip
from tests.tiny_pictures import shape_picture
from tests.training.tiny_captioner import captioner, publish_captioner
from tests.training.tiny_video import publish_video, video_captioner

FRAMES = square_clip("blue", ("moves left", "moves right"))
CLIP, PICTURE = "tiny-video", "tiny-captioner"
FILES = {"gif": gif_of(FRAMES), "apng": apng_of(FRAMES), "png": shape_picture("red", "bar")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("files") / "models"
    publish_video(video_captioner(), models)
    publish_captioner(captioner(), models)
    with live_server(models) as started:
        yield started


@pytest.fixture
def stream(served: LiveServer) -> Iterator[Client]:
    with stream_of(served) as client:
        yield client


def predict(server: LiveServer, model: str, key: str, file: bytes, **parameters: Any) -> Any:
    body = {"model": model, "inputs": {key: base64.b64encode(file).decode()}, "parameters": parameters}
    answer = httpx.post(f"http://127.0.0.1:{server.port}/predict", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


@pytest.mark.parametrize(
    ("model", "key", "kind"), [(CLIP, "clip", "gif"), (CLIP, "clip", "apng"), (PICTURE, "png", "png")]
)
@pytest.mark.parametrize("size", [37, 100_000])
def test_a_file_in_pieces_has_the_answer_of_the_file(
    served: LiveServer, stream: Client, model: str, key: str, kind: str, size: int
) -> None:
    """Nothing is answered before the end, as a file is read whole; encoding and task are told at the start."""
    file = FILES[kind]
    started = stream.start(model)
    assert (started["encoding"], started["reads"]) == (key, "whole")
    for place in range(0, len(file), size):
        result = stream.say(file[place : place + size])
        assert (result["type"], result["predictions"]) == ("result", [])
    assert stream.end()["predictions"] == predict(served, model, key, file)


def test_parameters_of_the_start_hold_for_its_clip_alone(served: LiveServer, stream: Client) -> None:
    """Moments and attention come where they were asked for, and a second clip on the connection is another input."""
    asked = {"return_moments": True, "return_attention": True, "num_beams": 1}
    stream.start(CLIP, parameters=asked)
    stream.say(FILES["gif"])
    (first,) = stream.end()["predictions"]
    assert [first] == predict(served, CLIP, "clip", FILES["gif"], **asked)
    assert len(first["moments"]["action"]) == len(first["frames"])
    stream.start(CLIP)
    stream.say(FILES["apng"])
    (second,) = stream.end()["predictions"]
    assert not {"moments", "attention"} & second.keys()


@pytest.mark.parametrize(
    ("model", "file", "said"),
    [
        (CLIP, FILES["gif"][:60], "cut short"),
        (CLIP, b"\xff\xd8\xff\xe0 a photograph", "a JPEG file"),
        (PICTURE, FILES["gif"], "a GIF file"),
    ],
    ids=["cut", "photograph", "clip for a picture"],
)
def test_a_file_that_cannot_be_read_is_refused_at_its_end(stream: Client, model: str, file: bytes, said: str) -> None:
    stream.start(model)
    assert stream.say(file)["type"] == "result"
    refused = stream.end()
    assert (refused["type"], refused["error_type"]) == ("error", "validation")
    assert said in refused["error"]
    assert stream.close_code() == 4422


@pytest.mark.parametrize("piece", [{"type": "text", "text": "a crab"}, {"type": "frames", "frames": [[1.0]]}])
def test_a_model_of_clips_takes_nothing_but_bytes(stream: Client, piece: dict[str, Any]) -> None:
    stream.start(CLIP)
    refused = stream.say(piece)
    assert refused["error_type"] == "validation", refused
    assert stream.close_code() == 4422


def test_a_clip_beyond_the_limit_of_an_input_closes_the_connection(tmp_path: Path) -> None:
    """The pieces of a file count together, so that many small ones cannot fill the memory."""
    publish_video(video_captioner(), tmp_path)
    with live_server(tmp_path, max_body_bytes=4096) as server, stream_of(server) as stream:
        stream.start(CLIP)
        for _ in range(4):
            assert stream.say(bytes(1000))["type"] == "result"
        assert stream.say(bytes(1000))["type"] == "error"
        assert stream.close_code() == 1009
