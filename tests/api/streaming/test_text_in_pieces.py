"""A text in pieces gets the answers of the same text in /predict, wherever it is cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.streaming.conftest import Client

TEXT = "The cat sat on a mat. Ada lives in London, hello \t world"
TAGGER, CLASSIFIER = "tiny-tagger-chunks", "tiny-classifier-chunks"


def predict(http: httpx.Client, model: str, inputs: Any, **fields: Any) -> dict[str, Any]:
    response = http.post("/predict", json={"model": model, "inputs": inputs, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *cuts})
    return [text[start:end] for start, end in pairwise(places)]


def read_in_pieces(stream: Client, model: str, pieces: list[str], **fields: Any) -> list[dict[str, Any]]:
    """Every result and the final one."""
    assert stream.start(model, **fields)["reads"] == "chunks"
    results = [stream.text(piece) for piece in pieces]
    assert [result["index"] for result in results] == list(range(1, len(pieces) + 1))
    return [*results, stream.end()]


def tokens_of(results: list[dict[str, Any]]) -> list[tuple[str, str, int, int]]:
    """Text, tag and place in the whole text of every word."""
    return [
        (token["text"], token["tag"], result["span"]["start"] + token["start"], result["span"]["start"] + token["end"])
        for result in results
        for prediction in result["predictions"]
        for token in prediction["tokens"]
    ]


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_a_text_cut_anywhere_has_the_tags_and_places_of_the_whole(
    stream_factory: Any, http: httpx.Client, cuts: list[int]
) -> None:
    (whole,) = predict(http, TAGGER, TEXT)["predictions"]
    with stream_factory() as stream:
        results = read_in_pieces(stream, TAGGER, pieces_of(TEXT, cuts))
    expected = [(token["text"], token["tag"], token["start"], token["end"]) for token in whole["tokens"]]
    assert tokens_of(results) == expected


@pytest.mark.parametrize("unit", ["utf16", "bytes"])
def test_places_count_in_the_unit_that_was_asked_for(stream: Client, http: httpx.Client, unit: str) -> None:
    text = "😀 Ada lives in Zürich . 😀 hello"
    (whole,) = predict(http, TAGGER, text, parameters={"offsets": unit})["predictions"]
    results = read_in_pieces(stream, TAGGER, [*text], parameters={"offsets": unit})
    assert [places[2:] for places in tokens_of(results)] == [
        (token["start"], token["end"]) for token in whole["tokens"]
    ]


def test_the_answers_are_bit_for_bit_those_of_chunks_in_predict(stream: Client, http: httpx.Client) -> None:
    """The same words, the same state: every number is the same."""
    results = read_in_pieces(stream, TAGGER, ["The cat s", "at on a", " mat."])
    state: dict[str, Any] = {}
    for result, chunk in zip(results, ["The cat", " sat on", " a", " mat."], strict=True):
        answer = predict(http, TAGGER, chunk, return_state=True, **state)
        assert result["predictions"] == answer["predictions"]
        state = {"state": answer["state"]}


def test_a_word_is_held_until_its_end_is_known(stream: Client) -> None:
    stream.start(TAGGER)
    assert stream.text("he")["predictions"] == []
    assert stream.say({"type": "state"}) == {"type": "state", "index": 1, "state": None, "held": "he"}
    assert stream.text("ll")["predictions"] == []
    (prediction,) = stream.text("o the wor")["predictions"]
    assert [token["text"] for token in prediction["tokens"]] == ["hello", "the"]
    assert stream.say({"type": "state"})["held"] == " wor"
    (prediction,) = stream.text("ld", flush=True)["predictions"]
    assert [token["text"] for token in prediction["tokens"]] == ["world"]
    final = stream.end()
    assert (final["type"], final["predictions"]) == ("final", [])


def test_a_classifier_judges_all_that_it_has_read_after_each_piece(stream: Client, http: httpx.Client) -> None:
    results = read_in_pieces(stream, CLASSIFIER, ["hello wor", "ld one ", "two"], parameters={"top_k": 2})
    whole = predict(http, CLASSIFIER, "hello world one two", parameters={"top_k": 2})["predictions"][0]
    final = results[-1]["predictions"][0]
    assert [entry["label"] for entry in final["top_k"]] == [entry["label"] for entry in whole["top_k"]]
    assert final["score"] == pytest.approx(whole["score"], abs=1e-6)
    assert len(results[0]["predictions"]) == 1


def test_a_classifier_repeats_its_judgement_at_the_end(stream: Client) -> None:
    """Also where nothing is left to read."""
    stream.start(CLASSIFIER)
    result = stream.text("hello world ")
    assert stream.end()["predictions"] == result["predictions"]


def test_a_state_goes_from_a_stream_to_predict_and_back(stream: Client, http: httpx.Client) -> None:
    whole = read_in_pieces(stream, TAGGER, ["The cat ", "sat on ", "a mat."])
    stream.start(TAGGER)
    stream.text("The cat ")
    handed_out = stream.say({"type": "state"})
    middle = predict(http, TAGGER, handed_out["held"] + "sat on", state=handed_out["state"], return_state=True)
    stream.end()
    stream.start(TAGGER, state=middle["state"])
    last = stream.text(" a mat.", flush=True)
    assert [token["tag"] for token in middle["predictions"][0]["tokens"]] == [t[1] for t in tokens_of(whole[1:2])]
    tags = [token["tag"] for token in last["predictions"][0]["tokens"]]
    assert tags == [token[1] for token in tokens_of(whole)][-len(tags) :]


def test_several_inputs_follow_one_another_on_one_connection(stream: Client) -> None:
    """Each begins anew: its answers are those of a connection of its own."""
    first = read_in_pieces(stream, TAGGER, ["The cat ", "sat"])
    read_in_pieces(stream, CLASSIFIER, ["hello"])
    assert read_in_pieces(stream, TAGGER, ["The cat ", "sat"]) == first


def test_an_input_of_nothing_has_no_answer(stream: Client) -> None:
    for model in (TAGGER, CLASSIFIER, "tiny-tagger"):
        stream.start(model)
        assert stream.text("")["predictions"] == []
        assert stream.end()["predictions"] == []


def test_a_text_without_ends_of_words_is_refused_before_it_grows(stream: Client) -> None:
    stream.start(TAGGER)
    stream.text("the cat ")
    stream.text("x" * 1200)
    error = stream.text("y" * 81)
    assert (error["error_type"], error["detail"][0]["field"]) == ("validation", "text")
    assert error["state"], "what was read is not lost"
    assert stream.close_code() == 4422


def test_a_piece_with_too_many_words_is_refused_with_the_limit(stream: Client) -> None:
    stream.start(TAGGER)
    error = stream.text("cat " * 41)
    assert "at most 40" in error["error"]
    assert stream.close_code() == 4422


def test_a_model_that_reads_whole_texts_collects_them(stream: Client, http: httpx.Client) -> None:
    """One answer at the end, the same as in /predict; a client needs no other code."""
    for model in ("tiny-tagger", "tiny-translator"):
        assert stream.start(model)["reads"] == "whole"
        assert [stream.text(piece)["predictions"] for piece in ["the c", "at", " sat"]] == [[], [], []]
        assert stream.end()["predictions"] == predict(http, model, "the cat sat")["predictions"]


def test_a_model_that_reads_whole_texts_has_no_state(stream: Client, http: httpx.Client) -> None:
    state = predict(http, TAGGER, "the cat", return_state=True)["state"]
    error = stream.say({"type": "start", "model": "tiny-tagger", "state": state})
    assert error["error_type"] == "validation"
    assert "both directions" in error["error"]
    assert stream.close_code() == 4422


def test_a_state_of_another_model_is_refused(stream: Client, http: httpx.Client) -> None:
    state = predict(http, TAGGER, "the cat", return_state=True)["state"]
    error = stream.say({"type": "start", "model": CLASSIFIER, "state": state})
    assert (error["error_type"], error["reason"]) == ("state_refused", "foreign_model")
    assert stream.close_code() == 4422


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parameters": {"top": 1}}, "parameters.top"),
        ({"parameters": {"offsets": "characters"}}, "parameters.offsets"),
        ({"encoding": "wav"}, "encoding"),
        ({"sample_rate_hz": 8000}, "sample_rate_hz"),
        ({"version": "9"}, ""),
    ],
)
def test_what_a_model_does_not_take_is_said_at_the_start(stream: Client, fields: dict[str, Any], field: str) -> None:
    error = stream.say({"type": "start", "model": TAGGER, **fields})
    assert error["type"] == "error"
    assert not field or error["detail"][0]["field"] == field
    assert stream.close_code() in (4422, 4404)


def test_a_start_without_a_model_lists_the_models(stream: Client) -> None:
    error = stream.say({"type": "start"})
    assert TAGGER in error["error"]
    assert stream.close_code() == 4422
