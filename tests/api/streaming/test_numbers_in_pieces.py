"""Rows, samples and files in messages of bytes, cut anywhere: the answers of the same input in /predict."""

from __future__ import annotations

import base64
import io
import wave
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.streaming.conftest import Client
from tests.tiny_signals import RATE_HZ, motions, sounds

ROWS = motions()[2].values
SAMPLES = (sounds()[1].values * 2**15).astype("<i2")
FINITE = {"parameters": {"top_k": 3}}


def predict(http: httpx.Client, model: str, inputs: Any) -> Any:
    response = http.post("/predict", json={"model": model, "inputs": inputs, **FINITE})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def scores_of(predictions: list[dict[str, Any]]) -> dict[str, float]:
    (prediction,) = predictions
    return {entry["label"]: entry["score"] for entry in prediction["top_k"]}


def parts_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 5, 12, 24, 1000])
def test_rows_of_bytes_are_read_when_they_are_whole(stream: Client, http: httpx.Client, size: int) -> None:
    whole = scores_of(predict(http, "tiny-motion-chunks", {"frames": ROWS.tolist()}))
    started = stream.start("tiny-motion-chunks", **FINITE)
    assert (started["reads"], started["encoding"]) == ("chunks", "f32le")
    results = [stream.say(part) for part in parts_of(ROWS.astype("<f4").tobytes(), size)]
    spans = [result["span"] for result in results if result["predictions"]]
    assert (spans[0]["start"], spans[-1]["end"]) == (0, len(ROWS))
    assert all(before["end"] == after["start"] for before, after in pairwise(spans))
    final = stream.end()
    assert scores_of(final["predictions"]) == pytest.approx(whole, abs=1e-5)


def test_the_part_of_a_row_that_the_state_has_not_is_held(stream: Client, http: httpx.Client) -> None:
    whole = scores_of(predict(http, "tiny-motion-chunks", {"frames": ROWS.tolist()}))
    data = ROWS.astype("<f4").tobytes()
    stream.start("tiny-motion-chunks", **FINITE)
    stream.say(data[:29])
    handed = stream.say({"type": "state"})
    assert base64.b64decode(handed["held"]) == data[24:29]
    stream.say(data[29:36])
    stream.end()
    stream.start("tiny-motion-chunks", state=handed["state"], **FINITE)
    answer = stream.say(base64.b64decode(handed["held"]) + data[29:])
    assert scores_of(answer["predictions"]) == pytest.approx(whole, abs=1e-5)


def test_rows_as_json_and_as_bytes_may_alternate_where_each_is_answered(stream: Client, http: httpx.Client) -> None:
    whole = scores_of(predict(http, "tiny-motion-chunks", {"frames": ROWS.tolist()}))
    stream.start("tiny-motion-chunks", **FINITE)
    stream.say({"type": "frames", "frames": ROWS[:2].tolist()})
    last = stream.say(ROWS[2:].astype("<f4").tobytes())
    assert last["span"] == {"start": 2, "end": len(ROWS)}
    assert scores_of(last["predictions"]) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_rows_are_collected_for_a_model_that_reads_them_whole(
    stream: Client, http: httpx.Client, as_bytes: bool
) -> None:
    assert stream.start("tiny-motion", **FINITE)["reads"] == "whole"
    for row in ROWS:
        piece = row.astype("<f4").tobytes() if as_bytes else {"type": "frames", "frames": [row.tolist()]}
        assert stream.say(piece)["predictions"] == []
    whole = scores_of(predict(http, "tiny-motion", {"frames": ROWS.tolist()}))
    assert scores_of(stream.end()["predictions"]) == pytest.approx(whole, abs=1e-5)


def samples_as(encoding: str) -> bytes:
    return SAMPLES.tobytes() if encoding == "pcm_s16le" else (SAMPLES / 2.0**15).astype("<f4").tobytes()


def wave_file() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(SAMPLES.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "wav"])
@pytest.mark.parametrize("size", [101, 4096])
def test_sound_in_frames_of_any_size_has_the_answer_of_the_file(
    stream: Client, http: httpx.Client, encoding: str, size: int
) -> None:
    whole = predict(http, "tiny-sound", {"wav": base64.b64encode(wave_file()).decode()})
    stream.start("tiny-sound", encoding=encoding, **FINITE)
    for part in parts_of(wave_file() if encoding == "wav" else samples_as(encoding), size):
        assert stream.say(part)["type"] == "result"
    assert stream.end()["predictions"] == whole


def test_sound_of_another_rate_is_resampled(stream: Client) -> None:
    started = stream.start("tiny-sound", sample_rate_hz=2 * RATE_HZ)
    assert started["sample_rate_hz"] == 2 * RATE_HZ
    stream.say(SAMPLES.tobytes())
    assert len(stream.end()["predictions"]) == 1


NOT_FINITE = np.array([[1, float("nan"), 2]], dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("model", "fields", "pieces", "said"),
    [
        ("tiny-motion-chunks", {}, [NOT_FINITE], "not finite"),
        ("tiny-motion", {}, [NOT_FINITE, None], "not finite"),
        ("tiny-motion-chunks", {}, [b"12345", None], "5 bytes into a row"),
        ("tiny-sound", {}, [b"123", None], "1 bytes into a row or sample of 2"),
        ("tiny-motion-chunks", {}, [{"type": "text", "text": "cat"}], "not text"),
        ("tiny-motion", {}, [{"type": "text", "text": "cat"}], "not text"),
        ("tiny-motion-chunks", {}, [{"type": "frames", "frames": [[1.0, 2.0]]}], "number of values"),
        ("tiny-motion-chunks", {}, [{"type": "frames", "frames": [[1.0] * 3] * 61}], "at most 60"),
        ("tiny-sound", {}, [{"type": "frames", "frames": [[1.0]]}], "rows"),
        ("tiny-tagger", {}, [b"cat"], "takes text"),
        ("tiny-tagger-chunks", {}, [b"cat"], "takes text"),
        ("tiny-tagger-chunks", {}, [{"type": "frames", "frames": [[1.0]]}], "text"),
        ("tiny-tagger-chunks", {}, [{"type": "generate"}], "writes no text"),
        ("tiny-sound", {"encoding": "wav"}, [b"ID3 no wave", None], "MP3"),
        ("tiny-sound", {"sample_rate_hz": 10}, [SAMPLES[:4].tobytes(), None], "10 Hz"),
        ("tiny-generator", {}, [b"cat"], "takes text"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_what_fits(
    stream: Client, model: str, fields: dict[str, Any], pieces: list[Any], said: str
) -> None:
    """None stands for the end."""
    stream.start(model, **fields)
    answers = [stream.end() if piece is None else stream.say(piece) for piece in pieces]
    assert answers[-1]["type"] == "error"
    assert answers[-1]["error_type"] == "validation"
    assert said in answers[-1]["error"]
    assert stream.close_code() == 4422
