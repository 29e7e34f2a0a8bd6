"""Constraints, biases and log-probabilities of prompts over HTTP."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.routes.test_generate import generate, stream
from tests.tiny_bundles import CHARACTERS


def test_a_text_is_one_of_the_choices_and_says_that_it_is_complete(client: TestClient) -> None:
    for seed in range(5):
        wishes = {"choices": ["yes", "no", "perhaps"], "do_sample": True, "seed": seed, "details": True}
        answer = generate(client, "Hello ", **wishes)
        assert answer["generated_text"] in wishes["choices"]
        assert answer["details"]["finish_reason"] == "eos_token"


def test_a_stream_obeys_a_pattern_in_each_form_it_can_be_sent(client: TestClient) -> None:
    """`regex` and the grammar of text-generation-inference give the same stream, which spells a text that matches."""
    pattern = "[A-Z][a-z]{2,4}, [0-9]{3}"
    sent: list[dict[str, Any]] = [{"regex": pattern}, {"grammar": {"type": "regex", "value": pattern}}]
    texts = []
    for form in sent:
        frames = list(stream(client, "Hello ", do_sample=True, seed=3, **form))
        texts.append(frames[-1]["generated_text"])
        assert "".join(frame["token"]["text"] for frame in frames if not frame["token"]["special"]) == texts[-1]
        assert all(math.isfinite(frame["token"]["logprob"]) for frame in frames)
    assert texts[0] == texts[1]
    assert re.fullmatch(pattern, texts[0])


def test_constrained_and_free_requests_share_a_batch(client: TestClient) -> None:
    """Forty requests at once, with constraints and without, answer what each answers alone."""
    forms: list[dict[str, Any]] = [
        {"choices": ["left", "right"]}, {}, {"regex": "([a-f]{3} )+"}, {"bad_words": ["e", "the"]},
        {"logit_bias": {"5": -100.0, "9": 3.0}}, {"presence_penalty": 2.0, "regex": "[^a]*"},
        {"decoder_input_details": True, "details": True},
    ]  # fmt: skip

    def ask(number: int) -> dict[str, Any]:
        wishes = {"do_sample": True, "seed": number, "max_new_tokens": 20, **forms[number % len(forms)]}
        return generate(client, "Hello"[: 1 + number % 5], **wishes)

    alone = [ask(number) for number in range(40)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, range(40))) == alone


def test_the_log_probabilities_and_the_perplexity_of_a_text(client: TestClient) -> None:
    """With 0 new tokens a text is only read; the perplexity follows from the log-probabilities listed."""
    wishes = {"max_new_tokens": 0, "details": True, "decoder_input_details": True}
    answer = generate(client, "Hello world", **wishes)
    details = answer["details"]
    first, *rest = (token["logprob"] for token in details["prefill"])
    assert (answer["generated_text"], details["generated_tokens"], details["tokens"], first) == ("", 0, [], None)
    assert details["perplexity"] == pytest.approx(math.exp(-sum(rest) / len(rest)))
    assert details["bits_per_character"] == pytest.approx(-sum(rest) / len(rest) / math.log(2))
    longer = generate(client, "Hello world", **{**wishes, "max_new_tokens": 3})
    assert longer["details"]["prefill"] == details["prefill"]
    assert "perplexity" not in generate(client, "a", **wishes)["details"]


def test_a_prompt_can_be_read_into_a_session_and_continued_with_choices(client: TestClient) -> None:
    headers = {"Authorization": "Bearer reader"}

    def post(**body: Any) -> dict[str, Any]:
        response = client.post("/generate", json={"session": "one", **body}, headers=headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    assert post(inputs="Hello ", parameters={"max_new_tokens": 0})["generated_text"] == ""
    first = post(inputs="", parameters={"choices": ["abcd", "dcba"], "max_new_tokens": 2})["generated_text"]
    second = post(inputs="", parameters={"choices": ["abcd", "dcba"]})["generated_text"]
    assert first + second in ("abcd", "dcba")


REFUSED = [
    ({"choices": []}, "parameters.choices"),
    ({"choices": ["a", ""]}, "parameters.choices.1"),
    ({"choices": ["ok", "日本"]}, "parameters.choices.1"),
    ({"choices": ["a"], "regex": "a"}, "parameters.choices"),
    ({"choices": [str(number) for number in range(10_000)]}, "parameters.choices"),
    ({"choices": {"a": 1}}, "parameters.choices"),
    ({"regex": "(a{1000}){1000}"}, "parameters.regex"),
    ({"regex": "((((((a|b)*c)*d)*e){9}){99}){9}"}, "parameters.regex"),
    ({"regex": "(a|b)*a(a|b){20}"}, "parameters.regex"),
    ({"regex": "(?=a)a"}, "parameters.regex"),
    ({"regex": r"(a)\1"}, "parameters.regex"),
    ({"regex": "["}, "parameters.regex"),
    ({"regex": ""}, "parameters.regex"),
    ({"regex": "^$"}, "parameters.regex"),
    ({"regex": "日本"}, "parameters.regex"),
    ({"regex": ["a"]}, "parameters.regex"),
    ({"grammar": {"type": "json", "value": {}}}, "parameters.grammar.type"),
    ({"grammar": {"type": "regex", "value": "a("}}, "parameters.regex"),
    ({"bad_words": [""]}, "parameters.bad_words.0"),
    ({"bad_words": ["x" * 65]}, "parameters.bad_words.0"),
    ({"bad_words": list(CHARACTERS)}, "parameters.bad_words"),
    ({"logit_bias": {"500": 1}}, "parameters.logit_bias.500"),
    ({"logit_bias": {"999999999": 1}}, "parameters.logit_bias.999999999"),
    ({"logit_bias": {"-1": 1}}, "parameters.logit_bias.-1"),
    ({"logit_bias": {"5": float("nan")}}, "parameters.logit_bias.5"),
    ({"logit_bias": {"5": float("-inf")}}, "parameters.logit_bias.5"),
    ({"logit_bias": {"5": "1"}}, "parameters.logit_bias.5"),
    ({"logit_bias": {str(number): 1 for number in range(2000)}}, "parameters.logit_bias"),
    ({"presence_penalty": 3}, "parameters.presence_penalty"),
    ({"max_new_tokens": 0}, "parameters.max_new_tokens"),
]


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
@pytest.mark.parametrize(("parameters", "field"), REFUSED)
def test_what_cannot_be_obeyed_is_422_with_the_path_of_the_field(
    client: TestClient, path: str, parameters: dict[str, Any], field: str
) -> None:
    body = json.dumps({"model": "tiny-generator", "inputs": "a", "parameters": parameters})
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["field"] == field


def test_the_parameters_are_documented_for_the_model_and_in_openapi(client: TestClient) -> None:
    listed = client.get("/models/tiny-generator").json()["parameters"]["properties"]
    added = {"choices", "regex", "bad_words", "grammar", "logit_bias", "presence_penalty"}
    assert added <= set(listed)
    assert all(listed[name].get("description") for name in added)
    schema = client.get("/openapi.json").json()["components"]["schemas"]["GenerationParameters"]["properties"]
    assert added <= set(schema)
