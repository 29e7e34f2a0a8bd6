"""Speech recognition in the words of Hugging Face, OpenAI and the Open Inference Protocol, and in chunks."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from service.api.streaming.pieces.byte_pieces import ByteFormat
from tests.api.streaming.speech.tiny_speech import RATE_HZ, sound

MODEL = "tiny-speech"
SAMPLES = (sound(3.0) * 2**15).astype("<i2")


def wav(samples: bytes = SAMPLES.tobytes(), rate_hz: int = RATE_HZ) -> str:
    """Samples of 16 bits as a wave file in base64."""
    found: str = ByteFormat("pcm_s16le", sample_rate_hz=rate_hz).whole_input(samples)["wav"]
    return found


FILE = base64.b64decode(wav())


def post(http: httpx.Client, path: str, **content: Any) -> Any:
    response = http.post(path, **content)
    assert response.status_code == 200, response.text
    return response.json() if "json" in response.headers["content-type"] else response.text


@pytest.fixture(scope="module")
def spoken(http: httpx.Client) -> dict[str, Any]:
    """The answer of `POST /predict`, with words."""
    body = {"model": MODEL, "inputs": {"wav": wav()}, "parameters": {"words": True}}
    (answer,) = post(http, "/predict", json=body)["predictions"]
    assert answer["words"], "the test needs a sound in which something is heard"
    found: dict[str, Any] = answer
    return found


def test_predict_in_chunks_ends_with_the_one_that_asks_for_no_state(http: httpx.Client, spoken: dict[str, Any]) -> None:
    state, texts = None, []
    for start in range(0, len(SAMPLES), 7001):
        is_last = start + 7001 >= len(SAMPLES)
        body = {
            "model": MODEL,
            "inputs": {"wav": wav(SAMPLES[start : start + 7001].tobytes())},
            "return_state": not is_last,
        }
        answer = post(http, "/predict", json=body | ({"state": state} if state else {}))
        texts += [one["text"] for one in answer["predictions"] if one["is_final"]]
        state = answer.get("state")
    assert " ".join(texts) == spoken["text"]
    assert state is None
    assert all(one["is_final"] for one in answer["predictions"])


def test_the_tasks_of_hugging_face(http: httpx.Client, spoken: dict[str, Any]) -> None:
    path = f"/models/{MODEL}"
    text = {"text": spoken["text"]}
    assert post(http, path, content=FILE, headers={"Content-Type": "audio/wav"}) == text
    assert post(http, path, json={"inputs": wav()}) == text
    words = post(http, path, json={"inputs": wav(), "parameters": {"return_timestamps": "word"}})
    assert [chunk["text"] for chunk in words["chunks"]] == [word["word"] for word in spoken["words"]]
    parts = post(http, path, json={"inputs": wav(), "parameters": {"return_timestamps": True}})["chunks"]
    assert " ".join(part["text"] for part in parts) == spoken["text"]
    assert parts[0]["timestamp"][0] == spoken["words"][0]["start_s"]


def transcribe(http: httpx.Client, file: bytes = FILE, **fields: Any) -> Any:
    return post(http, "/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", file, "audio/wav")})


def test_the_transcriptions_of_openai(http: httpx.Client, spoken: dict[str, Any]) -> None:
    assert transcribe(http, model=MODEL) == {"text": spoken["text"], "usage": {"type": "duration", "seconds": 3}}
    assert transcribe(http, model=MODEL, response_format="text") == spoken["text"] + "\n"
    verbose = transcribe(
        http, model=MODEL, response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]}
    )
    assert [word["word"] for word in verbose["words"]] == [word["word"] for word in spoken["words"]]
    assert " ".join(segment["text"] for segment in verbose["segments"]) == spoken["text"]
    assert (verbose["duration"], verbose["task"]) == (3.0, "transcribe")
    subtitles = transcribe(http, model=MODEL, response_format="srt")
    assert subtitles.startswith("1\n00:00:0")
    assert " --> 00:00:" in subtitles
    assert transcribe(http, model=MODEL, response_format="vtt").startswith("WEBVTT\n\n00:00:0")


def test_a_client_that_asks_for_a_stream_gets_events(http: httpx.Client, spoken: dict[str, Any]) -> None:
    """A delta and the whole text; subtitles are no events."""
    fields = {"model": MODEL, "stream": "true"}
    sent = http.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", FILE)})
    assert sent.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in sent.text.split("\n\n") if line]
    assert [event["type"] for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0]["delta"] == events[1]["text"] == spoken["text"]
    refused = http.post("/v1/audio/transcriptions", data=fields | {"response_format": "srt"}, files={"file": FILE})
    assert refused.status_code == 400


BOUNDARY = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "says"),
    [
        ("application/json", b"{}", "send a form"),
        ("multipart/form-data", b"--x--", "send a form"),
        ("multipart/form-data; boundary=", b"--x--", "send a form"),
        (BOUNDARY, b"hello", "no part that begins"),
        (BOUNDARY, b"--x", "ends before its last boundary"),
        (BOUNDARY, b"--x\r\n", "ends before its last boundary"),
        (BOUNDARY, PART % (b"file", FILE), "ends before its last boundary"),
        (BOUNDARY, b"--x\r\n\r\n--x--", "no head"),
        (BOUNDARY, b"--x\r\nA: b\r\n\r\nc\r\n--x--", "needs Content-Disposition"),
        (BOUNDARY, b"--x--", "send one sound file"),
        (BOUNDARY, PART % (b"model", MODEL.encode()) + b"--x--", "send one sound file"),
        (BOUNDARY, PART % (b"file", FILE) * 2 + b"--x--", "send one sound file"),
        (BOUNDARY, PART % (b"a", b"") * 65 + b"--x--", "more than 64 fields"),
        (BOUNDARY, PART % (b"colour", b"red") + PART % (b"file", FILE) + b"--x--", "there is no such field"),
        (BOUNDARY, PART % (b"file", b"") + PART % (b"model", MODEL.encode()) + b"--x--", "file is empty"),
        (BOUNDARY, PART % (b"file", b"x" * 9) + PART % (b"model", MODEL.encode()) + b"--x--", "sound"),
        (BOUNDARY, PART % (b"file", FILE) + PART % (b"model", b"\xff") + b"--x--", "not text in UTF-8"),
        (BOUNDARY, PART % (b"file", FILE) + PART % (b"model", b"tiny-motion") + b"--x--", "does not transcribe"),
    ],
)
def test_forms_that_are_none_or_lack_what_is_needed_are_refused(
    http: httpx.Client, content_type: str, body: bytes, says: str
) -> None:
    response = http.post("/v1/audio/transcriptions", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 400, response.text
    assert says in json.loads(response.text)["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("response_format", "xml"), ("temperature", "0.7"), ("stream", "maybe"), ("timestamp_granularities[]", "letter")],
)
def test_what_is_asked_in_vain_is_named(http: httpx.Client, field: str, value: str) -> None:
    files = {"file": ("a.wav", FILE)}
    response = http.post("/v1/audio/transcriptions", data={"model": MODEL, field: value}, files=files)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field.removesuffix("[]")


def test_the_open_inference_protocol(http: httpx.Client, spoken: dict[str, Any]) -> None:
    path = f"/v2/models/{MODEL}/infer"
    samples = (SAMPLES / 2.0**15).tolist()
    tensor = {"name": "samples", "datatype": "FP32", "shape": [1, len(samples)], "data": samples}
    answer = post(http, path, json={"inputs": [tensor]})
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found["text"] == [spoken["text"]]
    assert found["confidence"] == [pytest.approx(spoken["confidence"], abs=1e-3)]


def test_a_sequence_of_the_open_inference_protocol_ends_with_what_is_late(
    http: httpx.Client, spoken: dict[str, Any]
) -> None:
    """The chunks of a sequence: what each one finished or has under way. The last one ends the utterance."""
    path, texts = f"/v2/models/{MODEL}/infer", []
    for number, start in enumerate((0, 9000, 18000)):
        samples = (SAMPLES[start : start + 9000] / 2.0**15).tolist()
        control = {"sequence_id": 7, "sequence_start": number == 0, "sequence_end": number == 2}
        tensor = {"name": "samples", "datatype": "FP32", "shape": [1, len(samples)], "data": samples}
        answer = post(http, path, json={"inputs": [tensor], "parameters": control})
        texts += next(output["data"] for output in answer["outputs"] if output["name"] == "text")
    assert len(texts) == 3
    assert spoken["text"].endswith(texts[-1])
