"""A workload is made of a model's examples, or of the inputs in a file, in the form that the model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.cli.bench.workload import NUM_TEXTS, Options, make_workload, read_inputs
from service.errors import UnrollError

OPTIONS = Options({})


def details(task: str, *inputs: Any) -> dict[str, Any]:
    examples = [{"inputs": value, "parameters": {}, "answer": {}} for value in inputs]
    limits = {"max_input_tokens": 256, "max_new_tokens": 32}
    return {"name": "m", "version": "3", "task": task, "examples": examples, "limits": limits}


def test_texts_are_mixed_of_the_words_of_the_examples_with_other_lengths() -> None:
    made = make_workload(details("classification", "one two three four", "five six"), None, OPTIONS)
    texts = [str(body["inputs"]) for body in made.bodies]
    lengths = {len(text.split()) for text in texts}
    assert len(texts) == NUM_TEXTS
    assert {word for text in texts for word in text.split()} == {"one", "two", "three", "four", "five", "six"}
    assert 1 <= min(lengths) < max(lengths) <= 16
    assert made == make_workload(details("classification", "one two three four", "five six"), None, OPTIONS)
    assert (made.path, made.streams) == ("/predict", False)


def test_lists_of_words_stay_lists_and_are_one_input_each() -> None:
    made = make_workload(details("tagging", ["Ada", "lives"], ["in", "London"]), None, OPTIONS)
    first = made.bodies[0]["inputs"]
    assert len(first) == 1
    assert set(first[0]) <= {"Ada", "lives", "in", "London"}


def test_other_inputs_are_taken_as_they_are() -> None:
    frames = {"frames": [[1.0, 2.0]]}
    made = make_workload(details("forecasting", frames), "3", Options({"a": 1}))
    assert list(made.bodies) == [{"model": "m", "version": "3", "inputs": frames, "parameters": {"a": 1}}]


@pytest.mark.parametrize(("streams", "path"), [(True, "/generate_stream"), (False, "/generate")])
def test_language_models_write_texts_within_their_limit(streams: bool, path: str) -> None:
    made = make_workload(details("generation", "To be"), None, Options({"seed": 7}, 100, streams))
    assert made.bodies[0]["parameters"] == {"max_new_tokens": 32, "seed": 7}
    assert (made.path, made.streams) == (path, streams)


def test_a_file_replaces_the_examples(tmp_path: Path) -> None:
    """A line of JSON is an input, or a whole body with its own parameters."""
    file = tmp_path / "inputs.jsonl"
    file.write_text('"hello"\n\n["a", "b"]\n{"inputs": "x", "parameters": {"top_k": 2}}\n{"wav": "UklG"}\n', "utf-8")
    made = make_workload(details("classification"), None, Options({"top_k": 1}, file=file))
    assert [body["inputs"] for body in made.bodies] == ["hello", [["a", "b"]], "x", {"wav": "UklG"}]
    assert [body["parameters"]["top_k"] for body in made.bodies] == [1, 1, 2, 1]


def test_lines_of_a_text_file_are_texts(tmp_path: Path) -> None:
    file = tmp_path / "inputs.txt"
    file.write_text('\ufeff"quoted"\n\nsecond\r\n', encoding="utf-8")
    assert read_inputs(file) == ['"quoted"', "second"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'"one"\n{two}\n', "line 2: no JSON value"),
        ("a.txt", b"\n \n", "has no inputs"),
        ("a.txt", b"\xff\xfe", "no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UnrollError, match=message):
        read_inputs(file)


def test_a_model_without_examples_needs_a_file() -> None:
    with pytest.raises(UnrollError, match="--file"):
        make_workload(details("tagging"), None, OPTIONS)
