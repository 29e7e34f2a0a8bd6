"""The clients of text-generation-inference as they are installed: `text-generation`, huggingface_hub, LangChain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, held_runs, live_server, post
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

PROMPT = "Hello "


@pytest.fixture(scope="module")
def base(service: LiveServer) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture(scope="module")
def greedy(service: LiveServer) -> str:
    """The most likely six tokens after the prompt."""
    return generated(service, max_new_tokens=6)


def generated(service: LiveServer, **parameters: Any) -> str:
    with service.connect() as connection:
        answer = connection.ask(post("/generate", {"inputs": PROMPT, "parameters": parameters}))
    assert answer.status == 200, answer.body
    return str(answer.json["generated_text"])


@pytest.fixture(scope="module")
def text_generation(run_client: RunClient, base: str) -> dict[str, Any]:
    """What each call of the `text-generation` client returned."""
    found: dict[str, Any] = run_client("tgi", "tgi/text_generation_calls", base)
    return found


def test_text_generation_reads_whole_answers(text_generation: dict[str, Any], greedy: str) -> None:
    """The text, its details, the prompt's tokens and the best of each step; the same seed gives the same text."""
    found = text_generation
    assert found["greedy"] == found["greedy_tokens"] == found["by_name"] == greedy
    assert (found["finish_reason"], found["num_tokens"]) == ("length", 6)
    assert found["sampled"][0] == found["sampled"][1]
    assert found["sampled"][0][1] == 7
    assert "".join(found["prefill"]) == PROMPT
    assert found["top_tokens"] == [3] * 4
    assert found["every"].startswith(PROMPT)
    assert re.fullmatch("[0-9]{4}", found["regex"])


def test_text_generation_reads_streams(text_generation: dict[str, Any], greedy: str) -> None:
    """Its pieces make the text that the last event has, with the default model and with one in the path."""
    stream = text_generation["stream"]
    assert "".join(stream["tokens"]) == stream["text"] == text_generation["stream_by_name"] == greedy
    assert (stream["finish_reason"], stream["seed"]) == ("length", None)
    every = text_generation["stream_every"]
    assert every["text"] == text_generation["every"] == PROMPT + "".join(every["tokens"])
    assert every["seed"] == 3


def test_text_generation_runs_asynchronously(text_generation: dict[str, Any], greedy: str) -> None:
    found = text_generation["async"]
    assert found == {"text": greedy, "stream": greedy, "end": greedy, "many": [greedy]}


def test_text_generation_gets_the_best_of_several_texts(text_generation: dict[str, Any]) -> None:
    """The text with the highest mean log-probability is the answer, and the others are in its details, in order."""
    assert len(text_generation["others"]) == 2
    assert sorted([text_generation["best"], *text_generation["others"]], reverse=True) == [
        text_generation["best"],
        *text_generation["others"],
    ]
    assert len({text_generation["best_text"], *text_generation["other_texts"]}) > 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("too_many", "ValidationError: parameters.max_new_tokens: this model writes at most 30 tokens"),
        ("stream_too_many", "ValidationError: parameters.max_new_tokens"),
        ("async_too_many", "ValidationError: parameters.max_new_tokens"),
        ("async_stream_too_many", "ValidationError: parameters.max_new_tokens"),
        ("blank", "ValidationError: inputs: the text is empty"),
        ("too_long", "ValidationError: inputs: the input has 5000 characters"),
        ("watermark", "ValidationError: parameters.watermark: watermarks are not supported"),
        ("schema", "ValidationError: parameters.grammar"),
        ("absent", "NotFoundError: there is no model 'absent'"),
        ("no_path", "NotFoundError: there is nothing at /nothing"),
    ],
)
def test_text_generation_raises_its_own_errors(text_generation: dict[str, Any], call: str, error: str) -> None:
    assert text_generation[call].startswith(error)


@contextmanager
def busy(server: LiveServer) -> Iterator[None]:
    """A request of somebody else is being answered, and does not end as long as this lasts."""
    with held_runs(server, "tiny-generator") as begun, server.connect() as connection:
        connection.send(post("/generate", {"inputs": PROMPT}))
        assert begun.wait(PATIENCE_S)
        yield


def test_text_generation_is_told_of_overload_and_of_models_that_are_not_ready(
    run_client: RunClient, tiny_models: Path, tmp_path: Path
) -> None:
    """429 is `OverloadedError`. 503 has no class of its own; its sentence says why."""
    copy_bundle(tiny_models / "tiny-generator" / "1", tmp_path)
    (write_tiny_bundle(tmp_path, "generation", "broken") / "step.onnx").write_bytes(b"broken")
    with live_server(tmp_path, max_open_requests=1, ready="any") as server:
        address = f"http://127.0.0.1:{server.port}"
        (broken,) = run_client("tgi", "tgi/text_generation_errors", f"{address}/models/broken")
        with busy(server):
            (overloaded,) = run_client("tgi", "tgi/text_generation_errors", address)
    assert {text.partition(":")[0] for text in overloaded.values()} == {"OverloadedError"}
    assert {text.partition(";")[0] for text in broken.values()} == {"UnknownError: broken version 1 is not ready"}


@pytest.mark.parametrize("environment", ["tgi", "hub"])
def test_huggingface_hub_generates_text(
    run_client: RunClient, service: LiveServer, base: str, greedy: str, environment: str
) -> None:
    """Whole and streamed, sync and async, with the base address, a model in the path, and the routes by name."""
    found = run_client(environment, "tgi/hub_text_generation", base)
    assert found["version"].startswith("0." if environment == "tgi" else "2.")
    for address in ("base", "by_name", "generate", "invocations"):
        calls = found[address]
        assert {calls["text"], calls["stream"], *calls["async"].values()} == {greedy}, address
        assert calls["details"] == [greedy, "length", 6]
        assert "".join(calls["prefill"]) == PROMPT
        assert calls["stream_details"] == [greedy, "length", len(PROMPT)]
        assert calls["every"] == text_generation_with_everything(service)
    assert found["generate_stream"] == greedy
    assert re.fullmatch("[0-9]{4}", found["regex"])
    assert found["num_others"] == 2
    refused = {
        "too_many": "ValidationError: parameters.max_new_tokens",
        "stream_too_many": "ValidationError: parameters.max_new_tokens",
        "empty": "ValidationError: inputs: the text is empty",
        "watermark": "ValidationError: parameters.watermark: watermarks are not supported",
        "schema": "ValidationError: parameters.grammar",
        "adapter": "ValidationError: parameters.adapter_id: ",
        "best_of_stream": "ValidationError: parameters.best_of: ",
    }
    assert [call for call, words in refused.items() if not found[call].startswith(words)] == []
    assert "there is no model 'absent'" in found["absent"]


def text_generation_with_everything(service: LiveServer) -> str:
    sampling = {"do_sample": True, "seed": 3, "temperature": 0.8, "top_k": 10, "top_p": 0.9, "typical_p": 0.9}
    penalties = {"repetition_penalty": 1.2, "frequency_penalty": 0.5, "truncate": 5, "stop": ["\n\n"]}
    return generated(service, max_new_tokens=6, return_full_text=True, **sampling, **penalties)


def test_huggingface_hub_asks_for_health_and_information(run_client: RunClient, base: str) -> None:
    """Its older version has calls for both, at the base address and below the name of a model."""
    found = run_client("tgi", "tgi/hub_endpoint", base, f"{base}/models/tiny-generator", f"{base}/models/tiny-tagger")
    by_default, by_name, other = found.values()
    assert by_default == by_name
    assert [is_healthy for is_healthy, _ in found.values()] == [True] * 3
    assert (by_name[1]["model_id"], by_name[1]["max_total_tokens"]) == ("tiny-generator", 70)
    assert other[1]["model_pipeline_tag"] == "token-classification"


def test_langchain_continues_prompts(run_client: RunClient, service: LiveServer, base: str) -> None:
    """invoke, stream, batch and their async forms give the same text."""
    found = run_client("tgi", "tgi/langchain_endpoint", base)
    assert {found["invoke"], found["stream"], found["stopped"], found["batch"][0], *found["async"].values()} == {
        generated(service, max_new_tokens=6, seed=3, top_p=0.95, typical_p=0.95, temperature=0.8)
    }
    assert len(found["batch"]) == 2
