"""A prompt in pieces, and its continuation token by token, with the state kept between them."""

from __future__ import annotations

import httpx
import pytest

from tests.api.streaming.conftest import Client

MODEL = "tiny-generator"
GREEDY = {"max_new_tokens": 6, "details": True}


def generate(http: httpx.Client, inputs: str, **fields: object) -> dict[str, object]:
    response = http.post("/generate", json={"model": MODEL, "inputs": inputs, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def test_a_prompt_in_pieces_is_continued_as_in_generate(stream: Client, http: httpx.Client) -> None:
    whole = generate(http, "hello world", parameters=GREEDY)
    assert stream.start(MODEL, parameters=GREEDY)["reads"] == "prompt"
    for piece in ("hel", "lo wo", "rld"):
        assert stream.text(piece)["type"] == "result"
    stream.socket.send('{"type": "end"}')
    *tokens, final = stream.until("final")
    assert final["generated_text"] == whole["generated_text"]
    assert final["details"] == whole["details"]
    assert [token["number"] for token in tokens] == list(range(1, 7))
    assert "".join(token["token"]["text"] for token in tokens) == whole["generated_text"]


def test_the_text_goes_on_from_one_continuation_to_the_next(stream: Client, http: httpx.Client) -> None:
    """Half now and half on request is the whole."""
    whole = generate(http, "hello", parameters={"max_new_tokens": 8, "seed": 5, "do_sample": True})
    stream.start(MODEL, parameters={"max_new_tokens": 4, "seed": 5, "do_sample": True})
    stream.text("hello")
    written = ""
    for _ in range(2):
        stream.socket.send('{"type": "generate"}')
        written += stream.until("result")[-1]["generated_text"]
    assert written == whole["generated_text"]
    assert stream.end()["type"] == "final"


def test_text_may_follow_a_continuation(stream: Client, http: httpx.Client) -> None:
    first = generate(http, "hello", parameters=GREEDY, return_state=True)
    second = generate(http, " and", parameters={"max_new_tokens": 3}, state=first["state"])
    stream.start(MODEL, parameters=GREEDY)
    stream.text("hello")
    stream.socket.send('{"type": "generate"}')
    stream.until("result")
    stream.text(" and")
    stream.socket.send('{"type": "generate", "parameters": {"max_new_tokens": 3}}')
    assert stream.until("result")[-1]["generated_text"] == second["generated_text"]


def test_a_state_goes_from_a_stream_to_generate_and_back(stream: Client, http: httpx.Client) -> None:
    whole = generate(http, "hello", parameters={"max_new_tokens": 9})["generated_text"]
    stream.start(MODEL, parameters={"max_new_tokens": 3})
    stream.text("hello")
    stream.socket.send('{"type": "end", "return_state": true}')
    first = stream.until("final")[-1]
    second = generate(http, "", parameters={"max_new_tokens": 3}, state=first["state"], return_state=True)
    stream.start(MODEL, state=second["state"], parameters={"max_new_tokens": 3})
    stream.socket.send('{"type": "generate"}')
    third = stream.until("result")[-1]
    assert f"{first['generated_text']}{second['generated_text']}{third['generated_text']}" == whole


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "generate"}, 4422),
        ({"type": "end"}, 4422),
        ({"type": "generate", "parameters": {"max_new_tokens": 31}}, 4422),
        ({"type": "generate", "parameters": {"temperature": 0}}, 4422),
        ({"type": "generate", "parameters": {"max_tokens": 3}}, 4422),
        ({"type": "text", "text": "a" * 41}, 0),
    ],
)
def test_what_cannot_be_continued_is_refused(stream: Client, message: dict[str, object], code: int) -> None:
    stream.start(MODEL)
    if "parameters" in message:
        stream.text("hello")
    answer = stream.say(message)
    if not code:  # the length of a prompt is known when it is complete
        answer, code = stream.end(), 4422
    assert (answer["type"], answer["error_type"]) == ("error", "validation")
    assert stream.close_code() == code
