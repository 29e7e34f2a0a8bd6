"""The `websockets` library as it is installed streams texts, generations and states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.live_server import live_server
from tests.tiny_bundles import write_all_tiny_bundles, write_tiny_bundle

TAGGER = "tiny-tagger-chunks"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, run_client: RunClient) -> Iterator[dict[str, Any]]:
    models = write_all_tiny_bundles(tmp_path_factory.mktemp("stream") / "models")
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    with live_server(models) as server:
        address = f"http://127.0.0.1:{server.port}"
        yield run_client("websockets", "websockets/websockets_stream", address, TAGGER, "tiny-tagger", "tiny-generator")


def words_of(messages: list[dict[str, Any]]) -> list[str]:
    return [
        token["text"]
        for message in messages
        for prediction in message.get("predictions", [])
        for token in prediction["tokens"]
    ]


def test_each_piece_is_answered_as_far_as_its_words_are_complete(answers: dict[str, Any]) -> None:
    pieces = answers["pieces"]
    assert [message["type"] for message in pieces] == ["started", "result", "result", "result", "state", "final"]
    assert [words_of([message]) for message in pieces[1:4]] == [["The"], ["cat", "sat"], ["on", "a", "mat", "."]]


def test_a_model_that_reads_whole_texts_answers_at_the_end(answers: dict[str, Any]) -> None:
    assert words_of(answers["whole"][:-1]) == []
    assert words_of(answers["whole"]) == ["The", "cat", "sat", "on", "a", "mat", "."]


def test_the_state_of_a_stream_continues_in_predict(answers: dict[str, Any]) -> None:
    assert [token["text"] for token in answers["continued"]["predictions"][0]["tokens"]] == ["ada"]


def test_tokens_come_one_by_one_and_end_with_the_text(answers: dict[str, Any]) -> None:
    *messages, final = answers["generated"]
    assert messages[0]["request_id"] == "from-a-client"
    tokens = [message["token"]["text"] for message in messages if message["type"] == "token"]
    assert len(tokens) == 5
    assert "".join(tokens) == final["generated_text"]


def test_many_connections_are_served_at_once(answers: dict[str, Any]) -> None:
    assert answers["many"] == [["started", "result", "result", "result"]] * 20


def test_what_is_no_message_is_refused_with_a_sentence_and_a_code(answers: dict[str, Any]) -> None:
    refused = answers["refused"]
    assert refused["error"]["error_type"] == "malformed_json"
    assert refused["code"] == 4400
    assert "not JSON" in refused["reason"]
