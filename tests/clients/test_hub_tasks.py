"""The tasks of huggingface_hub's `InferenceClient`, old and new, on a tiny model of each task."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.live_server import LiveServer, live_server, post
from tests.tiny_bundles import copy_bundle
from tests.tiny_pictures import shape_picture
from tests.tiny_signals import CONFIGS, LABELS, sounds, write_tiny_signal_bundle
from tests.training.tiny_captioner import captioner, publish_captioner
from training.preprocessing.signal_values import wav_file

TEXT = "Hello world , Ada lives in London . \U0001f600 Ada"
Found = dict[str, Any]


@pytest.fixture(scope="module")
def models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models, and one each that reads sounds and pictures."""
    folder = tmp_path_factory.mktemp("tasks") / "models"
    for bundle in tiny_models.iterdir():
        if not bundle.name.startswith("."):
            copy_bundle(bundle / "1", folder)
    write_tiny_signal_bundle(folder, CONFIGS["waveform"], "tiny-sounds")
    publish_captioner(captioner(), folder)
    return folder


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[LiveServer]:
    with live_server(models) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wave file and a PNG file."""
    folder = tmp_path_factory.mktemp("files")
    sound, picture = folder / "sound.wav", folder / "picture.png"
    sound.write_bytes(wav_file(sounds()[0]))
    picture.write_bytes(shape_picture("blue", "bar"))
    return sound, picture


@pytest.fixture(scope="module", params=["tgi", "hub"])
def found(request: pytest.FixtureRequest, run_client: RunClient, served: LiveServer, files: tuple[Path, Path]) -> Found:
    """What each call returned, by an old and a new version of the client."""
    answers: Found = run_client(request.param, "tgi/hub_tasks", f"http://127.0.0.1:{served.port}", *map(str, files))
    assert answers["version"].startswith("0." if request.param == "tgi" else "2.")
    return answers


def predicted(server: LiveServer, model: str, inputs: Any, **parameters: Any) -> Any:
    """The prediction of `POST /predict`."""
    with server.connect() as connection:
        answer = connection.ask(post("/predict", {"model": model, "inputs": inputs, "parameters": parameters}))
    assert answer.status == 200, answer.body
    (prediction,) = answer.json["predictions"]
    return prediction


def plain(elements: list[Found]) -> list[Found]:
    """The elements without the fields that this answer does not have, which the client sets to null."""
    return [{name: value for name, value in one.items() if value is not None} for one in elements]


def test_text_classification_lists_labels_by_probability(found: Found, served: LiveServer) -> None:
    """All of them, or as many as `top_k` asks for."""
    labels = predicted(served, "tiny-classifier", "hello world", top_k=3)["top_k"]
    assert found["labels"] == labels
    assert found["two_labels"] == labels[:2]
    assert found["softmax"] == labels[:1]


def test_token_classification_lists_words_or_groups(found: Found, served: LiveServer) -> None:
    """Groups are the spans of the model, whatever the strategy; offsets cut the words out of a Python string."""
    answer = predicted(served, "tiny-tagger", TEXT)
    spans = [
        {"entity_group": one["label"], "word": one["text"], **{name: one[name] for name in ("start", "end")}}
        for one in answer["spans"]
    ]
    assert spans, "this test needs a text with spans"
    for strategy in ("null", "simple", "first", "average", "max"):
        groups = plain(found["entities"][strategy])
        assert [{name: one[name] for name in spans[0]} for one in groups] == spans
        assert [one["score"] for one in groups] == pytest.approx([span["score"] for span in answer["spans"]])
    words = plain(found["entities"]["none"])
    tagged = [token for token in answer["tokens"] if token["tag"] != "O"]
    assert [(one["entity"], one["score"]) for one in words] == [(token["tag"], token["score"]) for token in tagged]
    assert all(TEXT[one["start"] : one["end"]] == one["word"] for one in [*words, *plain(found["no_labels_ignored"])])
    assert len(found["no_labels_ignored"]) == len(answer["tokens"])


def test_feature_extraction_gives_a_list_of_one_vector(found: Found, served: LiveServer) -> None:
    """The vector is that of `return_hidden`, scaled to length 1 on request; similar sentences are near.

    Only the environment of the newer client has numpy, which it needs for vectors.
    """
    assert found["similarity"][0] == pytest.approx(1.0, abs=1e-6)
    assert found["similarity"][1] < found["similarity"][0]
    assert (found["vectors"] is None) == found["version"].startswith("0.")
    if found["vectors"] is None:
        return
    answer = predicted(served, "tiny-tagger", TEXT, return_hidden=True)["hidden"]
    length = sum(number * number for number in answer) ** 0.5
    assert found["vectors"]["one"] == [pytest.approx(answer, abs=1e-6)]
    assert found["vectors"]["unit"] == [pytest.approx([number / length for number in answer], abs=1e-6)]
    assert len(found["vectors"]["of_generator"][0]) == len(answer)
    assert "truncate: texts are not cut here" in found["vectors"]["truncated"]


def test_translation(found: Found, served: LiveServer) -> None:
    """With and without the languages, and with parameters of beam search."""
    assert found["translation"] == found["between"] == predicted(served, "tiny-translator", "the cat sat")["text"]
    shorter = predicted(served, "tiny-translator", "the cat sat", num_beams=1, max_new_tokens=3)
    assert found["searched"] == shorter["text"]


def test_audio_classification_takes_files(found: Found, served: LiveServer, files: tuple[Path, Path]) -> None:
    """The bytes themselves, a path, and base64 beside parameters."""
    wav = base64.b64encode(files[0].read_bytes()).decode()
    labels = predicted(served, "tiny-sounds", {"wav": wav}, top_k=len(LABELS))["top_k"]
    assert found["sounds"] == found["sounds_of_file"] == labels
    assert found["one_sound"] == labels[:1]


def test_image_to_text_takes_files(found: Found, served: LiveServer, files: tuple[Path, Path]) -> None:
    png = base64.b64encode(files[1].read_bytes()).decode()
    caption = predicted(served, "tiny-captioner", {"png": png})["text"]
    assert found["picture"] == found["picture_of_file"] == caption


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("language", "parameters.src_lang: this model translates from en to de: send en, or leave it out"),
        ("function", "parameters.function_to_apply: must be 'softmax'"),
        ("top_k", "parameters.top_k: "),
        ("empty", "inputs: the text is empty"),
        ("other_task", "parameters.top_k: there is no such parameter; this task has: aggregation_strategy"),
        ("zero_shot", "parameters.candidate_labels: there is no such parameter"),
        ("no_wave", "this is no sound file"),
        ("text_for_sound", "tiny-classifier reads no files: send JSON"),
        ("no_picture", "png: "),
        ("absent", "there is no model 'absent'"),
    ],
)
def test_what_is_refused_says_why(found: Found, call: str, words: str) -> None:
    """The client shows the sentence of the service."""
    assert found["refused"][call].startswith(("HfHubHTTPError: ", "BadRequestError: ", "RepositoryNotFoundError: "))
    assert words in found["refused"][call]
