"""Speech in pieces cut anywhere: the text of the same sound in one request, and clear errors for what is no sound."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.streaming.pieces.byte_pieces import ByteFormat
from tests.api.streaming.conftest import Client, Message, Open
from tests.api.streaming.speech.tiny_speech import RATE_HZ, sound
from tests.live_server import LiveServer
from tests.training.tiny_speech import FRAMES, utterances

SOUND = (sound(3.0) * 2**15).astype("<i2")
ROWS = utterances(FRAMES, 4)[3].values
MODEL, FRAMES_MODEL = "tiny-speech", "tiny-speech-frames"


def wav(samples: Any, rate_hz: int = RATE_HZ) -> dict[str, Any]:
    return ByteFormat("pcm_s16le", sample_rate_hz=rate_hz).whole_input(samples.tobytes())


def predict(http: httpx.Client, model: str, inputs: Any, **fields: Any) -> Any:
    response = http.post("/predict", json={"model": model, "inputs": inputs, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def whole_text(http: httpx.Client, model: str, inputs: Any) -> str:
    (transcript,) = predict(http, model, inputs)["predictions"]
    text: str = transcript["text"]
    assert text, "the test needs a sound in which something is heard"
    return text


def text_of(messages: Iterable[Message]) -> str:
    """The finished utterances of some answers."""
    finals = [one for message in messages for one in message["predictions"] if one["is_final"]]
    return " ".join(one["text"] for one in finals)


def cut(data: bytes, seed: int, most: int = 4000) -> list[bytes]:
    """Pieces of random sizes, some of them empty, mostly not at the borders of samples."""
    places = np.sort(np.random.default_rng(seed).integers(0, len(data), 2 * len(data) // most))
    ends = [0, 0, 1, *places.tolist(), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


def stream_all(stream: Client, model: str, pieces: Sequence[bytes | Message], **fields: Any) -> list[Message]:
    stream.start(model, **fields)
    return [*(stream.say(piece) for piece in pieces), stream.end()]


@pytest.mark.parametrize(("encoding", "seed"), [("pcm_s16le", 1), ("pcm_s16le", 2), ("pcm_f32le", 3)])
def test_the_text_is_the_same_wherever_the_sound_is_cut(
    stream: Client, http: httpx.Client, encoding: str, seed: int
) -> None:
    data = SOUND.tobytes() if encoding == "pcm_s16le" else (SOUND / 2.0**15).astype("<f4").tobytes()
    answers = stream_all(stream, MODEL, cut(data, seed), encoding=encoding)
    assert text_of(answers) == whole_text(http, MODEL, wav(SOUND))
    assert answers[-1]["audio_s"] == pytest.approx(3.0)
    assert answers[-1]["real_time_factor"] > 0
    assert answers[-1]["processing_ms"] > 0


@pytest.mark.parametrize("rate_hz", [4000, 11_025, 48_000])
def test_sound_of_other_rates_is_resampled_as_it_comes(stream: Client, http: httpx.Client, rate_hz: int) -> None:
    answers = stream_all(stream, MODEL, cut(SOUND.tobytes(), 4), sample_rate_hz=rate_hz)
    assert text_of(answers) == whole_text(http, MODEL, wav(SOUND, rate_hz))


def test_partial_results_come_before_the_end_of_an_utterance(stream: Client) -> None:
    answers = stream_all(stream, MODEL, cut(SOUND.tobytes(), 5, most=1000))
    partials = [one for answer in answers for one in answer["predictions"] if not one["is_final"]]
    assert any(one["text"] for one in partials)
    assert all(one["is_final"] for one in answers[-1]["predictions"])
    assert [answer["index"] for answer in answers[:-1]] == list(range(1, len(answers)))


def test_pieces_that_pile_up_are_each_answered(stream: Client, http: httpx.Client) -> None:
    """The last of those that are read together has the answer to all of them."""
    pieces = cut(SOUND.tobytes(), 6, most=500)
    stream.start(MODEL)
    for piece in pieces:
        stream.socket.send(piece)
    stream.socket.send(json.dumps({"type": "end"}))
    answers = [stream.hear() for _ in [*pieces, "end"]]
    assert [answer["index"] for answer in answers] == [*range(1, len(pieces) + 1), len(pieces)]
    assert text_of(answers) == whole_text(http, MODEL, wav(SOUND))


def test_after_an_error_the_state_has_what_was_answered_and_nothing_else(
    stream: Client, stream_factory: Open, http: httpx.Client
) -> None:
    """Also where pieces had piled up before the one that is refused."""
    data = (SOUND / 2.0**15).astype("<f4").tobytes()
    pieces = [data[start : start + 400] for start in range(0, len(data), 400)]
    stream.start(MODEL, encoding="pcm_f32le")
    for piece in [*pieces[:40], np.full(1, np.nan, "<f4").tobytes()]:
        stream.socket.send(piece)
    answers: list[Message] = []
    while (answer := stream.hear())["type"] == "result":
        answers.append(answer)
    assert (answer["type"], answer["index"]) == ("error", len(answers))
    with stream_factory() as second:
        rest = pieces[len(answers) :]
        answers += stream_all(second, MODEL, rest, encoding="pcm_f32le", state=answer.get("state"))
    assert text_of(answers) == whole_text(http, MODEL, wav(SOUND))


def test_beside_strangers_the_text_is_the_same(stream_factory: Open, http: httpx.Client) -> None:
    """Streams whose pieces share runs, in different places of different sounds."""
    sounds = [(sound(1.0 + 0.3 * number, seed=number) * 2**15).astype("<i2") for number in range(4)]
    wholes = [predict(http, MODEL, wav(one))["predictions"][0]["text"] for one in sounds]
    opened = [stream_factory() for _ in sounds]
    clients = [one.__enter__() for one in opened]
    for client in clients:
        client.start(MODEL)
    queues = [cut(one.tobytes(), seed, most=1500) for seed, one in enumerate(sounds)]
    for turn in range(max(map(len, queues))):
        for client, queue in zip(clients, queues, strict=True):
            if turn < len(queue):
                client.socket.send(queue[turn])
    texts = []
    for client, queue in zip(clients, queues, strict=True):
        answers = [client.hear() for _ in queue]
        texts.append(text_of([*answers, client.end()]))
    for one in opened:
        one.__exit__(None, None, None)
    assert texts == wholes


def test_a_state_continues_on_another_connection(stream_factory: Open, http: httpx.Client) -> None:
    """Also in the middle of a step, at another rate than the model's."""
    data = SOUND.tobytes()
    with stream_factory() as first:
        first.start(MODEL, sample_rate_hz=16_000)
        before = [first.say(data[:15_002])]
        state = first.say({"type": "state"})["state"]
    with stream_factory() as second:
        second.start(MODEL, sample_rate_hz=16_000, state=state)
        after = [second.say(data[15_002:]), second.end()]
    assert text_of([*before, *after]) == whole_text(http, MODEL, wav(SOUND, 16_000))


@pytest.mark.parametrize(("encoding", "size", "num_held"), [("pcm_s16le", 15_001, 1), ("pcm_f32le", 30_007, 3)])
def test_the_part_of_a_sample_that_the_state_has_not_is_held(
    stream_factory: Open, http: httpx.Client, encoding: str, size: int, num_held: int
) -> None:
    """Sent again before what follows, as the text of a word is, no sample is lost or shifted by a byte."""
    data = SOUND.tobytes() if encoding == "pcm_s16le" else (SOUND / 2.0**15).astype("<f4").tobytes()
    with stream_factory() as first:
        first.start(MODEL, encoding=encoding)
        before = [first.say(data[:size])]
        handed = first.say({"type": "state"})
        held = base64.b64decode(handed["held"])
    assert held == data[size - num_held : size]
    with stream_factory() as second:
        second.start(MODEL, encoding=encoding, state=handed["state"])
        after = [second.say(held + data[size:]), second.end()]
    assert text_of([*before, *after]) == whole_text(http, MODEL, wav(SOUND))


def test_what_is_held_is_handed_out_before_there_is_a_state(stream: Client) -> None:
    stream.start(MODEL)
    stream.say(b"\x07")
    handed = stream.say({"type": "state"})
    assert (handed["state"], handed["held"]) == (None, "Bw==")


def test_a_piece_that_failed_leaves_what_was_held_before_it(stream: Client) -> None:
    stream.start(MODEL, encoding="pcm_f32le")
    stream.say(b"\0" * 4000 + b"\x01")
    error = stream.say(b"\xff" * 4002)
    assert (error["type"], error["held"]) == ("error", "AQ==")


def test_the_end_hands_out_a_state_instead_of_ending_the_utterance(stream: Client, http: httpx.Client) -> None:
    data = SOUND.tobytes()
    stream.start(MODEL)
    before = stream.say(data[:20_000])
    final = stream.end(return_state=True)
    assert final["predictions"] == []
    stream.start(MODEL, state=final["state"])
    after = [stream.say(data[20_000:]), stream.end()]
    assert text_of([before, *after]) == whole_text(http, MODEL, wav(SOUND))


def test_a_session_keeps_the_state_between_connections(stream_factory: Open, http: httpx.Client) -> None:
    data = SOUND.tobytes()
    with stream_factory() as first:
        name = first.start(MODEL, session="call-1")["session"]
        before = [first.say(data[:9_000])]
    with stream_factory() as second:
        second.start(MODEL, session=name)
        after = [second.say(data[9_000:]), second.end()]
    assert text_of([*before, *after]) == whole_text(http, MODEL, wav(SOUND))


def test_chunks_of_predict_give_the_text_of_the_whole(http: httpx.Client) -> None:
    """The last chunk is the one without `return_state`."""
    answers, state = [], {}
    for number, part in enumerate(np.array_split(SOUND, 4)):
        answer = predict(http, MODEL, wav(part), return_state=number < 3, **state)
        answers.append(answer)
        state = {"state": answer["state"]} if number < 3 else {}
    assert text_of(answers) == whole_text(http, MODEL, wav(SOUND))
    assert answers[0]["audio_s"] == pytest.approx(0.75)
    assert answers[0]["real_time_factor"] > 0


@pytest.mark.parametrize("form", ["bytes", "rows"])
def test_frames_are_read_as_they_come(stream: Client, http: httpx.Client, form: str) -> None:
    data = ROWS.astype("<f4").tobytes()
    pieces: list[Any] = (
        cut(data, 7, most=200)
        if form == "bytes"
        else [{"type": "frames", "frames": rows.tolist()} for rows in np.array_split(ROWS, 9)]
    )
    answers = stream_all(stream, FRAMES_MODEL, pieces)
    assert text_of(answers) == whole_text(http, FRAMES_MODEL, {"frames": ROWS.tolist()})


def test_a_network_that_reads_both_ways_answers_at_the_end(stream: Client, http: httpx.Client) -> None:
    assert stream.start("tiny-speech-both-ways")["reads"] == "whole"
    assert stream.say(ROWS.astype("<f4").tobytes())["predictions"] == []
    assert text_of([stream.end()]) == whole_text(http, "tiny-speech-both-ways", {"frames": ROWS.tolist()})


@pytest.mark.parametrize(
    "piece", [b"", b"\0", SOUND[:1].tobytes(), bytes(32_000)], ids=["empty", "half a sample", "a sample", "silence"]
)
def test_little_or_no_sound_has_an_answer(stream: Client, piece: bytes) -> None:
    """And the next piece is read as if nothing had been."""
    stream.start(MODEL)
    assert stream.say(piece)["type"] == "result"
    assert stream.say(piece)["type"] == "result"
    final = stream.end()
    assert (final["type"], final["index"]) == ("final", 2)


def test_an_end_without_sound_has_an_empty_answer(stream: Client) -> None:
    stream.start(MODEL)
    assert stream.end()["predictions"] == []


@pytest.mark.parametrize(
    ("fields", "piece", "told"),
    [
        pytest.param({"sample_rate_hz": 8}, b"", "sample_rate_hz: is 8 Hz; sound of 4000 to 192000 Hz", id="8 Hz"),
        pytest.param({"sample_rate_hz": 1_000_000}, b"", "less than or equal to 192000", id="1 MHz"),
        pytest.param({"encoding": "f32le"}, b"", "takes pcm_s16le or pcm_f32le or wav", id="rows"),
        pytest.param({"encoding": "pcm_f32le"}, b"\0\0\xc0\x7f", "number 0 of this message is not finite", id="NaN"),
        pytest.param({"encoding": "pcm_f32le"}, b"\xff\xff\x7f\x7f", "this message holds samples that are", id="huge"),
        pytest.param({}, {"type": "text", "text": "hello"}, "takes numbers or bytes, not text", id="text"),
        pytest.param({}, {"type": "frames", "frames": [[1.0]]}, "takes no rows of numbers", id="frames"),
        pytest.param({"parameters": {"wrods": True}}, b"\0\0", "wrods", id="unknown parameter"),
        pytest.param({"state": "abc"}, b"\0\0", "state", id="no state"),
    ],
)
def test_what_is_no_sound_is_refused_in_plain_words(
    stream: Client, fields: dict[str, Any], piece: bytes | Message, told: str
) -> None:
    answer = stream.say({"type": "start", "model": MODEL, **fields})
    if answer["type"] == "started":
        answer = stream.say(piece)
    assert answer["type"] == "error"
    assert told in json.dumps(answer)
    assert 4400 <= stream.close_code() < 4500


def test_an_input_that_ends_within_a_sample_is_refused(stream: Client) -> None:
    stream.start(MODEL)
    stream.say(SOUND.tobytes()[:2001])
    assert "1 bytes into a row or sample of 2 bytes" in stream.end()["error"]


def test_a_wave_file_is_collected_and_answered_at_the_end(stream: Client, http: httpx.Client) -> None:
    assert stream.start(MODEL, encoding="wav")["reads"] == "whole"
    for part in cut(base64.b64decode(wav(SOUND)["wav"]), 8):
        stream.say(part)
    assert text_of([stream.end()]) == whole_text(http, MODEL, wav(SOUND))


def test_sound_and_transcripts_are_counted(server: LiveServer, stream: Client) -> None:
    def count(name: str, **labels: str) -> float:
        return server.app.metrics.registry.get_sample_value(f"unroll_speech_{name}", {"model": MODEL, **labels}) or 0

    before = {kind: count("transcripts_total", kind=kind) for kind in ("partial", "endpoint", "final")}
    seconds, num_pieces = count("sound_seconds_total"), count("piece_duration_seconds_count")
    stream.start(MODEL)
    assert count("streams") >= 1
    results = [stream.say(part) for part in cut(SOUND.tobytes(), 9)]
    final = stream.end()
    said = [one for answer in results for one in answer["predictions"]]
    assert count("sound_seconds_total") - seconds == pytest.approx(3.0)
    assert count("piece_duration_seconds_count") - num_pieces <= len(results) + 1
    assert count("transcripts_total", kind="partial") - before["partial"] == sum(not one["is_final"] for one in said)
    assert count("transcripts_total", kind="endpoint") - before["endpoint"] == sum(one["is_final"] for one in said)
    assert count("transcripts_total", kind="final") - before["final"] == len(final["predictions"])


def test_a_minute_of_sound_may_come_in_one_message(stream: Client, http: httpx.Client) -> None:
    """Text and other bytes keep their smaller limit."""
    minute = np.tile(SOUND, 20)
    stream.start(MODEL)
    answer = stream.say(minute.tobytes())
    assert answer["audio_s"] == pytest.approx(60.0)
    assert text_of([answer, stream.end()]) == whole_text(http, MODEL, wav(minute))


@pytest.mark.parametrize("message", [b"\0" * 300_000, {"type": "text", "text": "a" * 300_000}], ids=["bytes", "text"])
def test_other_messages_are_no_larger_than_before(stream: Client, message: bytes | Message) -> None:
    stream.start(FRAMES_MODEL)
    stream.socket.send(message if isinstance(message, bytes) else json.dumps(message))
    if isinstance(message, bytes):
        assert "at most 262144 are read" in stream.hear()["error"]
    assert stream.close_code() == 1009
