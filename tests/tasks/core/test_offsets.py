"""Offsets of words and spans in the unit that the caller's language counts in."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.tasks.core.offsets import OffsetUnit, in_unit

TEXT = "\N{GRINNING FACE}\u00e9 na\u00efve \u4f60\u597d e\u0301 \U0001d54f\u200d\N{FAMILY} end"


def cut(text: str, unit: OffsetUnit, start: int, end: int) -> str:
    """What a program cuts out of its own form of the text: a string, UTF-16 units, or bytes."""
    if unit == "codepoints":
        return text[start:end]
    if unit == "utf16":
        return text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")
    return text.encode()[start:end].decode()


@pytest.mark.parametrize("unit", ["codepoints", "utf16", "bytes"])
@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_offsets_cut_the_same_words_out_of_every_form_of_a_text(unit: OffsetUnit, words: list[str]) -> None:
    text = " ".join(words)
    starts = [sum(map(len, words[:index])) + index for index in range(len(words))]
    offsets = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=True))
    converted = in_unit(text, offsets, unit)
    assert [cut(text, unit, start, end) for start, end in converted] == words


@pytest.mark.parametrize("unit", [None, "codepoints", "utf16", "bytes"])
@pytest.mark.parametrize("text", [TEXT, "plain ada", "\ufeffada", "\r\n\t ada\u2028b"])
def test_a_request_chooses_the_unit_of_its_offsets(client: TestClient, text: str, unit: OffsetUnit | None) -> None:
    """Tokens and spans are cut out of the caller's own form of the text; code points are the default."""
    body = {"model": "tiny-tagger", "inputs": ["x", text]} | ({"parameters": {"offsets": unit}} if unit else {})
    answer = client.post("/predict", json=body).json()["predictions"][1]
    found = [*answer["tokens"], *answer.get("spans", [])]
    assert found
    assert [cut(text, unit or "codepoints", one["start"], one["end"]) for one in found] == [
        one["text"] for one in found
    ]


def test_words_have_no_offsets_in_any_unit(client: TestClient) -> None:
    body = {"model": "tiny-tagger", "inputs": [["\u00e9a"]], "parameters": {"offsets": "bytes"}}
    (token,) = client.post("/predict", json=body).json()["predictions"][0]["tokens"]
    assert (token["start"], token["end"]) == (None, None)


@pytest.mark.parametrize("unit", ["utf-16", "UTF16", "chars", 16, None, ""])
def test_an_unknown_unit_is_refused_with_those_that_there_are(client: TestClient, unit: object) -> None:
    body = {"model": "tiny-tagger", "inputs": "ada", "parameters": {"offsets": unit}}
    response = client.post("/predict", json=body)
    assert response.status_code == 422
    assert response.json()["error"] == "parameters.offsets: must be 'codepoints', 'utf16' or 'bytes'"


def test_the_document_and_the_model_say_what_offsets_count(client: TestClient) -> None:
    places = client.get("/openapi.json").json()["components"]["schemas"]["TaggedToken"]["properties"]
    assert "code points" in places["start"]["description"]
    offsets = client.get("/models/tiny-tagger").json()["parameters"]["properties"]["offsets"]
    assert (offsets["default"], offsets["enum"]) == ("codepoints", ["codepoints", "utf16", "bytes"])
