"""`POST /models/{name}`: each task in the shape of Hugging Face's pipelines, from JSON and from files."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.protocols.token_classification import TokenClassificationPipeline, entities
from tests.conftest import running_service
from tests.tiny_bundles import copy_bundle
from tests.tiny_pictures import shape_picture
from tests.tiny_signals import CONFIGS, LABELS, motions, sounds, write_tiny_signal_bundle
from tests.training.tiny_captioner import captioner, publish_captioner
from tests.training.tiny_series import forecaster, publish_forecaster
from training.preprocessing.signal_values import json_form, wav_file

WAV, PNG = wav_file(sounds()[0]), shape_picture("blue", "bar")
WAV_TEXT, PNG_TEXT = base64.b64encode(WAV).decode(), base64.b64encode(PNG).decode()
PATHS = {
    "text": "/models/tiny-classifier", "tags": "/models/tiny-tagger", "translation": "/models/tiny-translator",
    "sound": "/models/tiny-sounds", "frames": "/models/tiny-motions", "picture": "/models/tiny-captioner",
    "series": "/models/tiny-forecaster", "trees": "/models/tiny-parser",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with a tiny model of every task and kind of input."""
    folder = tmp_path_factory.mktemp("tasks") / "models"
    for name in ("classifier", "tagger", "translator", "parser"):
        copy_bundle(tiny_models / f"tiny-{name}" / "1", folder)
    write_tiny_signal_bundle(folder, CONFIGS["waveform"], "tiny-sounds")
    write_tiny_signal_bundle(folder, CONFIGS["frames"], "tiny-motions")
    publish_captioner(captioner(), folder)
    publish_forecaster(forecaster(), folder)
    with running_service(folder) as client:
        yield client


def answered(client: TestClient, kind: str, inputs: Any, **parameters: Any) -> Any:
    response = client.post(PATHS[kind], json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()


def sent(client: TestClient, kind: str, body: bytes, media_type: str | None) -> Any:
    headers = {} if media_type is None else {"Content-Type": media_type}
    response = client.post(PATHS[kind], content=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def predictions(client: TestClient, kind: str, inputs: Any, **parameters: Any) -> Any:
    model = PATHS[kind].rpartition("/")[2]
    response = client.post("/predict", json={"model": model, "inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_labels_of_a_text_are_a_list_in_a_list(served: TestClient) -> None:
    """All labels by probability, or `top_k`; one list for each of several inputs."""
    first, second = (one["top_k"] for one in predictions(served, "text", ["hello world", "one two"], top_k=3))
    assert answered(served, "text", "hello world") == [first]
    assert answered(served, "text", "hello world", top_k=1) == [first[:1]]
    assert answered(served, "text", "hello world", top_k=10**9, function_to_apply="softmax") == [first]
    assert answered(served, "text", ["hello world", "one two"]) == [first, second]
    assert answered(served, "text", ["hello world"]) == [first]


def test_labels_of_a_sound_are_a_list(served: TestClient) -> None:
    """From base64, a data URL, our own object, and the file itself with and without a content type."""
    ((labels,)) = [one["top_k"] for one in predictions(served, "sound", {"wav": WAV_TEXT}, top_k=len(LABELS))]
    assert answered(served, "sound", WAV_TEXT) == labels
    assert answered(served, "sound", f"data:audio/wav;base64,{WAV_TEXT}") == labels
    assert answered(served, "sound", {"wav": WAV_TEXT}, top_k=2) == labels[:2]
    assert answered(served, "sound", [WAV_TEXT, {"wav": WAV_TEXT}]) == [labels, labels]
    for media_type in (
        None,
        "audio/wav",
        "audio/x-wav",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ):
        assert sent(served, "sound", WAV, media_type) == labels


def test_labels_of_frames_are_a_list(served: TestClient) -> None:
    (labels,) = [one["top_k"] for one in predictions(served, "frames", json_form(motions()[0]), top_k=3)]
    assert answered(served, "frames", json_form(motions()[0])) == labels


def test_a_picture_is_described(served: TestClient) -> None:
    """From base64 and from the file itself; parameters of beam search stand beside it or in `generate_kwargs`."""
    (caption,) = predictions(served, "picture", {"png": PNG_TEXT})
    assert answered(served, "picture", PNG_TEXT) == [{"generated_text": caption["text"]}]
    for media_type in (None, "image/png", "application/octet-stream"):
        assert sent(served, "picture", PNG, media_type) == [{"generated_text": caption["text"]}]
    (short,) = predictions(served, "picture", {"png": PNG_TEXT}, num_beams=1, max_new_tokens=2)
    for parameters in (
        {"num_beams": 1, "max_new_tokens": 2},
        {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 2}},
    ):
        assert answered(served, "picture", PNG_TEXT, **parameters) == [{"generated_text": short["text"]}]


@pytest.mark.parametrize(
    ("source", "target"), [("en", "de"), ("EN", "DE"), ("en_XX", "de_DE"), ("en-GB", "de-AT"), ("eng_Latn", "deu_Latn")]
)
def test_a_translation_between_the_languages_of_the_model(served: TestClient, source: str, target: str) -> None:
    (prediction,) = predictions(served, "translation", "the cat sat")
    expected = [{"translation_text": prediction["text"]}]
    assert answered(served, "translation", "the cat sat", src_lang=source, tgt_lang=target) == expected
    several = answered(served, "translation", ["the cat sat", "hello"])
    assert [list(one) for one in several] == [["translation_text"]] * 2


@pytest.mark.parametrize(
    ("name", "asked"), [("src_lang", "de"), ("tgt_lang", "en"), ("src_lang", ""), ("tgt_lang", "d")]
)
def test_another_language_is_refused_with_that_of_the_model(served: TestClient, name: str, asked: str) -> None:
    response = served.post(PATHS["translation"], json={"inputs": "hello", "parameters": {name: asked}})
    assert (response.status_code, response.json()["detail"][0]["field"]) == (422, f"parameters.{name}")
    assert "from en to de" in response.json()["error"]


def test_a_forecaster_answers_in_our_own_shape(served: TestClient) -> None:
    frames = {"frames": [[100.0, 20.0, 1013.0]] * 12}
    assert answered(served, "series", frames) == predictions(served, "series", frames)


def test_words_have_entities_and_groups_their_labels(served: TestClient) -> None:
    """Of a list of words too, which have no places; scores are means, and all strategies give the same groups."""
    text = "Ada lives in London . \U0001f600 Ada"
    (answer,) = predictions(served, "tags", text)
    words = answered(served, "tags", text, aggregation_strategy="none", ignore_labels=[])
    assert [one["word"] for one in words] == [token["text"] for token in answer["tokens"]]
    assert [one["index"] for one in words] == list(range(1, len(words) + 1))
    groups = answered(served, "tags", text)
    assert all(text[one["start"] : one["end"]] == one["word"] for one in [*words, *groups])
    for strategy in ("simple", "first", "average", "max", None):
        assert answered(served, "tags", text, aggregation_strategy=strategy, stride=0) == groups
    (of_words,) = answered(served, "tags", [["Ada", "lives"]], ignore_labels=[])
    assert {one["start"] for one in of_words} == {None}


def test_words_of_a_tree_have_tags_heads_and_relations(served: TestClient) -> None:
    """One a word, with heads by their `index`; groups of words would be no tree."""
    (answer,) = predictions(served, "trees", "Ada lives in London")
    words = answered(served, "trees", "Ada lives in London", aggregation_strategy="none")
    assert words == answered(served, "trees", ["Ada lives in London"])[0]
    assert [(one["word"], one["entity"], one["relation"], one["start"]) for one in words] == [
        (token["text"], token["tag"], token["relation"], token["start"]) for token in answer["tokens"]
    ]
    heads = [0 if token["head"] is None else token["head"] + 1 for token in answer["tokens"]]
    assert [(one["index"], one["head"]) for one in words] == list(enumerate(heads, start=1))
    body = {"inputs": "Ada", "parameters": {"aggregation_strategy": "simple"}}
    refused = served.post(PATHS["trees"], json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["field"] == "parameters.aggregation_strategy"


def tagged(*words: tuple[str, str, float], spans: list[tuple[str, int, int]] | None = None) -> dict[str, Any]:
    """An answer of a tagger to words with a blank between them."""
    tokens, start = [], 0
    for word, tag, score in words:
        tokens.append({"text": word, "tag": tag, "score": score, "start": start, "end": start + len(word)})
        start += len(word) + 1
    answer: dict[str, Any] = {"tokens": tokens}
    if spans is not None:
        answer["spans"] = [{"label": label, "first_token": first, "end_token": end} for label, first, end in spans]
    return answer


def test_adjacent_spans_of_one_label_stay_apart_and_words_outside_join() -> None:
    answer = tagged(
        ("in", "O", 0.9), ("the", "O", 0.7), ("Rhine", "B-LOC", 1.0), ("Main", "B-LOC", 0.5), ("area", "I-LOC", 0.7),
        spans=[("LOC", 2, 3), ("LOC", 3, 5)],
    )  # fmt: skip
    text = "in the Rhine Main area"
    groups = entities(answer, TokenClassificationPipeline(ignore_labels=[]), text)
    assert [(one["entity_group"], one["word"], round(one["score"], 3)) for one in groups] == [
        ("O", "in the", 0.8), ("LOC", "Rhine", 1.0), ("LOC", "Main area", 0.6),
    ]  # fmt: skip
    assert [one["word"] for one in entities(answer, TokenClassificationPipeline(), text)] == ["Rhine", "Main area"]
    assert entities(answer, TokenClassificationPipeline(ignore_labels=["LOC", "O"]), text) == []


def test_neighbours_with_the_same_tag_form_groups_where_tags_form_no_spans() -> None:
    answer = tagged(("big", "ADJ", 1.0), ("red", "ADJ", 0.5), ("dog", "NOUN", 0.9))
    groups = entities(answer, TokenClassificationPipeline(aggregation_strategy="max"), "big red dog")
    assert [(one["entity_group"], one["word"], one["score"], one["start"], one["end"]) for one in groups] == [
        ("ADJ", "big red", 0.75, 0, 7), ("NOUN", "dog", 0.9, 8, 11),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("text", {"inputs": " "}, "inputs"),
        ("text", {"inputs": ["hello", ""]}, "inputs.1"),
        ("text", {"inputs": []}, "inputs"),
        ("text", {"inputs": 3}, "inputs"),
        ("text", {"inputs": "a", "parameters": {"top_k": 0}}, "parameters.top_k"),
        ("text", {"inputs": "a", "parameters": {"top_k": "2"}}, "parameters.top_k"),
        ("text", {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}}, "parameters.function_to_apply"),
        ("text", {"inputs": "a", "parameters": {"candidate_labels": ["b"]}}, "parameters.candidate_labels"),
        ("text", {"inputs": "a", "parameters": []}, "parameters"),
        ("text", {"inputs": "a", "stream": True}, "stream"),
        ("text", {"inputs": {"png": PNG_TEXT}}, "inputs"),
        ("text", {}, "inputs"),
        ("tags", {"inputs": "a", "parameters": {"top_k": 2}}, "parameters.top_k"),
        ("tags", {"inputs": "a", "parameters": {"aggregation_strategy": "all"}}, "parameters.aggregation_strategy"),
        ("tags", {"inputs": "a", "parameters": {"ignore_labels": [1] * 1000}}, "parameters.ignore_labels.0"),
        ("translation", {"inputs": ["a", ["b"]]}, "inputs.1"),
        (
            "translation",
            {"inputs": "a", "parameters": {"generate_parameters": {"num_beams": 99}}},
            "parameters.num_beams",
        ),
        ("translation", {"inputs": "a", "parameters": {"truncation": "longest_first"}}, "parameters.truncation"),
        ("sound", {"inputs": "no base64"}, "inputs.wav"),
        ("sound", {"inputs": PNG_TEXT}, "inputs.wav"),
        ("picture", {"inputs": WAV_TEXT}, "inputs.png"),
        ("series", {"inputs": "a"}, "inputs"),
        ("series", {"inputs": {"frames": [[1.0]]}}, "inputs.frames.0"),
    ],
)
def test_what_is_refused_names_the_field(served: TestClient, kind: str, body: dict[str, Any], field: str) -> None:
    response = served.post(PATHS[kind], json=body)
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert [one["field"] for one in response.json()["detail"]] == [field]


@pytest.mark.parametrize(
    ("kind", "body", "media_type", "status", "words"),
    [
        ("text", WAV, None, 422, "tiny-classifier reads no files: send JSON"),
        ("text", b'{"inputs": "hello"}', "image/png", 422, "tiny-classifier reads no files: send JSON"),
        ("text", b"hello", "text/plain", 422, "tiny-classifier reads no files: send JSON"),
        ("text", b"hello", "application/json", 400, "the body is not JSON"),
        ("text", b"--x", "multipart/form-data; boundary=x", 415, "forms are not read"),
        ("text", b"", None, 422, "a JSON body is needed"),
        ("text", b"{" * 900_000, None, 422, "the body holds 900000 lists and objects"),
        ("text", b" " * 2_200_000, None, 413, "larger than"),
        ("sound", WAV, "application/json", 400, "the body is not JSON"),
        ("sound", WAV[:20], None, 422, "inputs.wav"),
        ("sound", PNG, "image/png", 422, "inputs.wav"),
        ("sound", b"fLaC" * 100, "audio/flac", 422, "the FLAC file is damaged"),
        ("sound", b"\0" * 1_000_000, None, 422, "inputs.wav"),
        ("picture", PNG[:30], None, 422, "inputs.png"),
        ("picture", b"\xff\xd8\xff\xe0" * 20, "image/jpeg", 422, "a JPEG file"),
        ("frames", WAV, None, 422, "tiny-motions reads no files"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_in_words(
    served: TestClient, kind: str, body: bytes, media_type: str | None, status: int, words: str
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    response = served.post(PATHS[kind], content=body, headers=headers)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_sentences_are_compared_at_the_path_of_the_model(served: TestClient) -> None:
    """As `sentence_similarity` asks of a URL; a text that has the word in quotes is a text."""
    inputs = {"source_sentence": "hello world", "sentences": ["one two", "hello world"]}
    (other, same) = answered(served, "text", inputs)
    assert (same, other < same) == (pytest.approx(1.0), True)
    assert served.post(f"{PATHS['text']}/pipeline/sentence-similarity", json={"inputs": inputs}).json() == [other, same]
    assert "label" in answered(served, "text", 'hello "source_sentence": world')[0][0]
    refused = served.post(PATHS["text"], json={"inputs": inputs, "parameters": {"top_k": 2}}).json()
    assert [one["field"] for one in refused["detail"]] == ["parameters.top_k"]


@pytest.mark.parametrize("kind", ["sound", "picture"])
def test_embeddings_of_what_is_no_text_have_a_route_of_their_own(served: TestClient, kind: str) -> None:
    """`POST /v1/embeddings` takes texts: it names the other route, and lists no such model."""
    model = PATHS[kind].rpartition("/")[2]
    refused = served.post("/v1/embeddings", json={"model": model, "input": "hello"})
    assert (refused.status_code, f"{PATHS[kind]}/pipeline/feature-extraction" in refused.text) == (400, True)
    assert model not in served.post("/v1/embeddings", json={"model": "absent", "input": "hello"}).text
    details = served.get(PATHS[kind]).json()
    raw = {"sound": WAV, "picture": PNG}[kind]
    value = {{"sound": "wav", "picture": "png"}[kind]: base64.b64encode(raw).decode()}
    (vector,) = served.post(f"{PATHS[kind]}/pipeline/feature-extraction", json={"inputs": value}).json()
    assert len(vector) == details["embedding_size"]


def test_json_needs_no_content_type(served: TestClient) -> None:
    """As curl sends it without one; `options` of the Hugging Face API change nothing."""
    expected = answered(served, "text", "hello")
    body = b' {"inputs": "hello", "options": {"wait_for_model": true}}'
    assert sent(served, "text", body, None) == expected
    assert sent(served, "text", body, "application/x-www-form-urlencoded") == expected


def test_a_language_model_takes_options_too(client: TestClient) -> None:
    body = {"inputs": "Hello ", "parameters": {"max_new_tokens": 2}, "options": {"use_cache": False}}
    assert len(client.post("/models/tiny-generator", json=body).json()) == 1
    refused = client.post("/models/tiny-generator", content=b"hello")
    assert (refused.status_code, refused.json()["error_type"]) == (400, "malformed_json")


def test_the_model_is_still_described_at_its_path(client: TestClient) -> None:
    assert client.get("/models/tiny-tagger").json()["task"] == "tagging"
    absent = client.post("/models/absent", json={"inputs": "a"})
    assert (absent.status_code, absent.json()["error_type"]) == (404, "unknown_model")
