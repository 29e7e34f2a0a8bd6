"""Triton's clients over gRPC work unchanged: every call, every kind of task, streams and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.live_server import LiveServer, live_server, post


@pytest.fixture(scope="module")
def served(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, grpc_port=0) as started:
        yield started


@pytest.fixture(scope="module")
def report(served: LiveServer, run_client: RunClient) -> Any:
    """What the clients got from each of their calls."""
    return run_client("triton", "triton/triton_grpc", f"127.0.0.1:{served.grpc_port}")


def ask(served: LiveServer, path: str, body: object) -> Any:
    with served.connect() as connection:
        return connection.ask(post(path, body)).json


def predictions(served: LiveServer, model: str, inputs: object, **parameters: Any) -> Any:
    return ask(served, "/predict", {"model": model, "inputs": inputs, "parameters": parameters})["predictions"]


def test_server_and_models_describe_themselves(report: Any) -> None:
    """As they do over HTTP; 64-bit numbers are texts in the JSON of gRPC."""
    assert (report["live"], report["ready"], report["model_ready"]) == (True, True, [True, False])
    assert {"classification", "sequence", "statistics"} <= set(report["server"]["extensions"])
    assert report["metadata"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert report["metadata"]["outputs"][-1] == {"name": "scores", "datatype": "FP32", "shape": ["-1", "3"]}
    assert report["config"]["max_batch_size"] == 128
    assert report["config"]["input"][0]["data_type"] == "TYPE_STRING"
    assert report["config"]["parameters"]["graphs"] == {"string_value": "tiny-tagger.tagger"}
    assert {(model["name"], model["state"]) for model in report["index"]} >= {("tiny-tagger", "READY")}
    assert report["trace"]["trace_level"] == {"value": ["OFF"]}
    assert report["logging"]["log_error"] == {"bool_param": True}
    assert report["shared_memory"] == [{}, {}]


def test_every_form_of_a_request_has_the_answer_of_predict(served: LiveServer, report: Any) -> None:
    """Plain, compressed, by callback, and by the client for asyncio."""
    plain = predictions(served, "tiny-classifier", ["hello world", "one two one"])
    labels = [answer["label"] for answer in plain]
    assert report["classified"]["label"] == labels
    assert report["classified"]["score"] == pytest.approx([answer["score"] for answer in plain], rel=1e-6)
    assert report["gzip"] == report["deflate"] == labels * 60
    assert report["asynchronous"] == [{"label": labels}] * 4
    assert report["asyncio"] == {"labels": [labels] * 4, "streamed": ["a1"], "of": "tiny-tagger"}
    identity, top = report["named"]
    assert (identity, [len(row) for row in top]) == ("r1", [2, 2])
    best = predictions(served, "tiny-classifier", ["hello world"], top_k=2)[0]["top_k"]
    assert [written.split(":")[2] for written in report["classes"][0]] == [one["label"] for one in best]


def test_each_kind_of_task_has_typed_tensors(served: LiveServer, report: Any) -> None:
    long, _ = predictions(served, "tiny-tagger", ["The cat sat", "hello"])
    assert report["tags"]["tokens"] == [["The", "cat", "sat"], ["hello", "", ""]]
    assert report["tags"]["tags"][0] == [token["tag"] for token in long["tokens"]]
    (translated,) = predictions(served, "tiny-translator", ["the cat sat"], num_beams=1)
    assert report["translated"] == [translated["text"]]
    assert [len(row) for row in report["graph"]] == [3, 3]
    assert report["statistics"]["model_stats"][0]["inference_stats"]["success"]["count"] > "0"


def test_a_sequence_continues_and_its_end_forgets_it(report: Any) -> None:
    assert "".join(report["pieces"]) == report["whole"]
    status, message = report["refused"]["ended"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "begin it with sequence_start" in message


def test_one_stream_carries_tokens_sequences_answers_and_errors(report: Any) -> None:
    """Tokens leave as they come, whole answers in the order of their requests, and an error ends nothing."""
    streamed = report["streamed"]
    tokens = [answer for answer in streamed if answer[0] == "t"]
    assert "".join(piece for _, (piece,), _, _ in tokens) == report["generated"][0]
    assert [is_final for *_, is_final in tokens] == [False] * (len(tokens) - 1) + [True]
    assert tokens[-1][2] == ["text_output", "finish_reason", "generated_tokens"]
    whole = [answer for answer in streamed if answer[0] != "t"]
    assert [answer[0] for answer in whole] == ["q0", "q1", "q2", "error", "c"]
    assert "".join(piece for _, (piece,), *_ in whole[:3]) == report["whole"]
    assert whole[3][1] == "[INVALID_ARGUMENT] inputs.text.0: the text is empty"


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("unknown_model", "NOT_FOUND", "there is no model 'absent'"),
        ("trace", "UNIMPLEMENTED", "tracing is set up by the environment"),
        ("logging", "UNIMPLEMENTED", "the log level is set by UNROLL_LOG_LEVEL"),
        ("register", "UNIMPLEMENTED", "shared memory is not offered"),
        ("file", "INVALID_ARGUMENT", "copy its bundle there"),
        ("blank", "INVALID_ARGUMENT", "inputs.text.0: the text is empty"),
        ("datatype", "INVALID_ARGUMENT", "BYTES are wanted here"),
    ],
)
def test_what_is_refused_has_a_canonical_status_and_a_sentence(
    report: Any, case: str, status: str, sentence: str
) -> None:
    found, message = report["refused"][case]
    assert found == f"StatusCode.{status}"
    assert sentence in message
