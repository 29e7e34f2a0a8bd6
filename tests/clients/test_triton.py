"""Triton's clients over HTTP work unchanged: texts and graphs as tensors, JSON and binary, and every call beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.live_server import LiveServer, live_server, post
from tests.tiny_bundles import NAMES


def ask(service: LiveServer, path: str, body: object) -> Any:
    with service.connect() as connection:
        return connection.ask(post(path, body)).json


@pytest.fixture(scope="module")
def report(service: LiveServer, run_client: RunClient) -> Any:
    """What the synchronous client got from each of its calls."""
    return run_client("triton", "triton/triton_sync", f"127.0.0.1:{service.port}")


def predictions(service: LiveServer, model: str, inputs: object, **parameters: Any) -> Any:
    return ask(service, "/predict", {"model": model, "inputs": inputs, "parameters": parameters})["predictions"]


def test_server_and_models_describe_themselves(report: Any) -> None:
    assert (report["live"], report["ready"], report["model_ready"]) == (True, True, [True, True, False])
    assert {"binary_tensor_data", "classification", "sequence", "statistics"} <= set(report["server"]["extensions"])
    assert report["metadata"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert report["metadata"]["outputs"][-1] == {"name": "scores", "datatype": "FP32", "shape": [-1, 3]}
    assert [tensor["name"] for tensor in report["graph_metadata"]["inputs"]] == ["tokens", "lengths"]
    assert report["config"]["max_batch_size"] == 128
    assert report["config"]["parameters"]["graphs"] == {"string_value": "tiny-tagger.tagger"}
    assert {(model["name"], model["state"]) for model in report["index"]} >= {("tiny-tagger", "READY")}
    assert report["trace"]["trace_level"] == ["OFF"]
    assert report["logging"]["log_error"] is True
    assert report["shared_memory"] == [[], []]


def test_every_form_of_a_request_has_the_answer_of_predict(service: LiveServer, report: Any) -> None:
    """Raw bytes, JSON, compressed both ways, a column of texts, and several requests at once."""
    plain = predictions(service, "tiny-classifier", ["hello world", "one two one"])
    labels = [answer["label"] for answer in plain]
    for form in ("binary", "json"):
        assert report[form]["label"] == labels
        assert report[form]["score"] == pytest.approx([answer["score"] for answer in plain], rel=1e-6)
        assert [sum(scores) for scores in report[form]["scores"]] == pytest.approx([1.0, 1.0], rel=1e-6)
    assert report["gzip"] == report["deflate"] == labels
    assert report["column"]["label"] == [[label] for label in labels]
    assert report["asynchronous"] == [labels] * 8


def test_classes_are_the_best_scores_with_index_and_label(service: LiveServer, report: Any) -> None:
    (first, second), _ = report["classes"]["scores"]
    best = predictions(service, "tiny-classifier", ["hello world"], top_k=2)[0]["top_k"]
    for written, expected in zip((first, second), best, strict=True):
        score, index, label = written.split(":")
        assert (label, float(score)) == (expected["label"], pytest.approx(expected["score"], abs=1e-5))
        assert ("greeting", "number", "other")[int(index)] == label


def test_parameters_go_to_the_task_and_the_id_comes_back(report: Any) -> None:
    identity, labels = report["named"]
    assert identity == "r1"
    assert [len(row) for row in labels] == [2, 2]


def test_tags_and_texts_are_typed_tensors(service: LiveServer, report: Any) -> None:
    """Rows of different lengths are filled up, and `lengths` says where."""
    long, short = predictions(service, "tiny-tagger", ["The cat sat", "hello"])
    assert report["tags"]["tokens"] == [["The", "cat", "sat"], ["hello", "", ""]]
    assert report["tags"]["lengths"] == [3, 1]
    assert report["tags"]["tags"][0] == [token["tag"] for token in long["tokens"]]
    assert report["tags"]["offsets"] == [[[0, 3], [4, 7], [8, 11]], [[0, 5], [-1, -1], [-1, -1]]]
    spans = [[span["label"] for span in answer["spans"]] for answer in (long, short)]
    assert [[label for label in row if label] for row in report["tags"]["span_labels"]] == spans
    (translated,) = predictions(service, "tiny-translator", ["the cat sat"], num_beams=1)
    assert report["translated"]["text_output"] == [translated["text"]]


def test_texts_are_generated_and_a_sequence_continues_them(service: LiveServer, report: Any) -> None:
    """The pieces of a sequence are the whole text, and its end forgets it."""
    asked = {"inputs": "Hello ", "parameters": {"max_new_tokens": 6, "seed": 3, "do_sample": True}}
    assert report["generated"]["text_output"][0] == ask(service, "/generate", asked)["generated_text"]
    assert len(report["generated"]["finish_reason"]) == 2
    assert "".join(report["pieces"]) == report["whole"]
    status, message = report["refused"]["ended"]
    assert status == "400"
    assert "begin it with sequence_start" in message


def test_a_graph_runs_on_the_callers_tensors(report: Any) -> None:
    """Under its own name and by its inputs; a row has the same numbers alone and beside a padded one."""
    assert report["graph"] == report["same_graph"]
    assert report["short_graph"]["logits"][0] == pytest.approx(report["graph"]["logits"][0], abs=1e-5)


def test_statistics_count_what_was_asked(report: Any) -> None:
    (counted,) = report["statistics"]["model_stats"]
    stages = counted["inference_stats"]
    assert counted["inference_count"] > stages["success"]["count"] > 8
    assert counted["execution_count"] == sum(batch["compute_infer"]["count"] for batch in counted["batch_stats"])
    assert stages["success"]["ns"] >= stages["compute_infer"]["ns"] > 0
    assert report["all_statistics"] == sorted(NAMES.values())


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("unknown_model", "404", "there is no model 'absent'"),
        ("trace", "400", "tracing is set up by the environment"),
        ("logging", "400", "the log level is set by UNROLL_LOG_LEVEL"),
        ("register", "400", "shared memory is not offered"),
        ("file", "400", "copy its bundle there"),
        ("blank", "400", "inputs.text.0: the text is empty"),
        ("negative", "400", "tokens holds ids from -1 to 4"),
        ("datatype", "400", "BYTES are wanted here"),
        ("output", "400", "there is no such output"),
        ("sequence", "400", "it has no state to continue from"),
    ],
)
def test_what_is_refused_is_refused_with_a_sentence(report: Any, case: str, status: str, sentence: str) -> None:
    found_status, message = report["refused"][case]
    assert found_status == status
    assert sentence in message


def test_the_asyncio_client_works_too(service: LiveServer, run_client: RunClient) -> None:
    report = run_client("triton", "triton/triton_asyncio", f"127.0.0.1:{service.port}")
    (answer,) = predictions(service, "tiny-classifier", ["hello world"])
    assert report["ready"] == [True, True]
    assert report["labels"] == [answer["label"]] * 6
    assert report["counts"] == [1, 2, 3, 4, 5, 6]
    assert report["gzip"] == 100
    assert report["metadata"]["name"] == "tiny-tagger"
    assert "the text is empty" in report["refused"]


def test_a_model_is_unloaded_and_loaded(tiny_models: Path, run_client: RunClient) -> None:
    with live_server(tiny_models) as own:
        report = run_client("triton", "triton/triton_repository", f"127.0.0.1:{own.port}")
    assert report == [["READY", True], ["UNAVAILABLE", False], ["READY", True]]
