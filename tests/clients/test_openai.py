"""OpenAI's Python client and LangChain on top of it work unchanged, with their streams, errors and retries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunClient
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer, held_runs, live_server, post
from tests.tiny_bundles import NAMES

NAME = "tiny-generator"
#: The request that keeps the service busy lasts until the client has started, however slow the machine is.
_PATIENT_MS = int(2000 * PATIENCE_S)


def url_of(service: LiveServer) -> str:
    return f"http://127.0.0.1:{service.port}/v1"


@pytest.fixture(scope="module")
def report(service: LiveServer, run_client: RunClient) -> Any:
    """What the synchronous client got from each of its calls."""
    return run_client("openai", "openai/openai_sync", url_of(service))


def test_models_are_listed_with_the_language_models_first(report: Any) -> None:
    """Some programs take the first model that there is."""
    assert report["models"][0] == NAME
    assert len(report["models"]) == len(NAMES)
    model = report["model"]
    assert model.pop("created") > 0
    assert model == {"id": NAME, "object": "model", "owned_by": "unroll", "name": NAME, "ready": True}


def test_a_completion_has_every_field_that_the_client_declares(report: Any) -> None:
    """Its own type accepts the answer, and usage and log-probabilities of the prompt are right."""
    completion = report["completion"]
    (choice,) = completion["choices"]
    scores = choice["logprobs"]
    assert completion["model"] == NAME
    assert choice["text"].startswith("Romeo, ")
    assert scores["tokens"][:7] == list("Romeo, ")
    assert scores["token_logprobs"][0] is None
    assert all(value < 0 for value in scores["token_logprobs"][1:])
    num_tokens = len(scores["tokens"])
    assert completion["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": num_tokens - 7,
        "total_tokens": num_tokens,
        "completion_tokens_details": None,
        "prompt_tokens_details": None,
    }
    assert report["raw"] == ["application/json", True, "text_completion"]


def test_the_same_seed_gives_the_same_texts_in_every_form(report: Any) -> None:
    """Whole or streamed, alone or among several: number i of a prompt has the seed + i."""
    (plain,) = report["plain"]
    assert report["again"] == [plain]
    assert report["several"][0] == plain
    assert len(report["several"]) == 3
    assert report["list"][:2] == report["several"][:2]
    assert len(report["list"]) == 4
    assert "".join(text for _, text, _ in report["streamed"]["pieces"]) == plain
    both = [
        "".join(text for index, text, _ in report["streamed several"]["pieces"] if index == wanted)
        for wanted in range(2)
    ]
    assert both == report["several"][:2]


def test_prompts_may_be_token_ids(report: Any) -> None:
    assert report["id lists"][0] == report["ids"][0]
    assert len(report["id lists"]) == 2


def test_a_stream_ends_with_its_reason_and_its_usage(report: Any) -> None:
    *firsts, last = [reason for _, _, reason in report["streamed"]["pieces"]]
    assert set(firsts) == {None}
    assert last in ("stop", "length")
    usage = report["streamed"]["usage"]
    assert usage["prompt_tokens"] == 7
    assert 0 < usage["completion_tokens"] <= 8


def test_every_parameter_is_taken(report: Any) -> None:
    assert len(report["everything"]) == 2
    assert len(report["best"]) == 1
    assert report["default length"] <= 16


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("unknown model", ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found", True]),
        ("other task", ["BadRequestError", 400, "invalid_request_error", "model", "invalid_value", True]),
        ("bad value", ["BadRequestError", 400, "invalid_request_error", "temperature", "invalid_value", True]),
        ("unknown field", ["BadRequestError", 400, "invalid_request_error", "temprature", "invalid_value", True]),
        ("beyond the vocabulary", ["BadRequestError", 400, "invalid_request_error", "prompt.1", "invalid_value", True]),
        ("too long", ["BadRequestError", 400, "invalid_request_error", "max_tokens", "invalid_value", True]),
        ("in a stream", ["BadRequestError", 400, "invalid_request_error", "prompt", "invalid_value", True]),
        ("chat", ["NotFoundError", 404, "invalid_request_error", None, "unknown_url", True]),
        ("moderations", ["NotFoundError", 404, "invalid_request_error", None, "unknown_url", True]),
        ("responses", ["NotFoundError", 404, "invalid_request_error", None, "unknown_url", True]),
        ("delete", ["APIStatusError", 405, "invalid_request_error", None, "method_not_allowed", True]),
    ],
)
def test_errors_become_the_clients_own(report: Any, case: str, expected: list[Any]) -> None:
    """Class, status, type, parameter, code and request id, as a program that catches them sees them."""
    assert report["refused"][case] == expected


def test_the_asynchronous_client(service: LiveServer, run_client: RunClient) -> None:
    """Calls at the same time, a stream, and a stream that is left after its first event."""
    report = run_client("openai", "openai/openai_async", url_of(service))
    assert len(report["together"]) == 8
    assert report["streamed"] == report["whole"] == report["together"][7]
    assert report["whole"].startswith(report["first"])
    assert report["models"][0] == NAME
    wait_until(lambda: service.engine(NAME).num_pending == 0)


def test_a_busy_service_is_tried_again(tiny_models: Path, run_client: RunClient) -> None:
    """429 with Retry-After: the client waits, tries again by itself, and is answered."""
    body = {"prompt": "a", "max_tokens": 3}
    with (
        live_server(tiny_models, max_open_requests=1, default_timeout_ms=_PATIENT_MS) as busy,
        ThreadPoolExecutor() as pool,
    ):
        with held_runs(busy, NAME) as begun, busy.connect() as other:
            other.send(post("/v1/completions", body))
            begun.wait()
            answered = pool.submit(run_client, "openai", "openai/openai_retries", url_of(busy), "0")
            wait_until(lambda: busy.metric("unroll_rejections_total", reason="too_many_open") > 0)
        assert 0 < answered.result() <= 3


def test_what_a_retry_meets_again_is_not_tried_again(tiny_models: Path, run_client: RunClient) -> None:
    """A deadline that has passed is an error at once: `x-should-retry: false` keeps the client from asking again."""
    labels = {"model": NAME, "task": "generation", "outcome": "deadline_exceeded"}
    with live_server(tiny_models) as slow, held_runs(slow, NAME):
        assert run_client("openai", "openai/openai_retries", url_of(slow), "20") == [
            "InternalServerError",
            "deadline_exceeded",
        ]
        assert slow.metric("unroll_requests_total", **labels) == 1


def test_an_error_inside_a_stream_is_raised_by_the_client(tiny_models: Path, run_client: RunClient) -> None:
    with live_server(tiny_models) as slow, held_runs(slow, NAME):
        name, kind, code, message = run_client("openai", "openai/openai_broken_stream", url_of(slow))
    assert (name, kind, code) == ("APIError", "server_error", "deadline_exceeded")
    assert "deadline" in message


def test_langchain(service: LiveServer, run_client: RunClient) -> None:
    report = run_client("openai", "openai/langchain_openai_client", url_of(service))
    assert report["invoke"] == report["ainvoke"] == "".join(report["stream"]) == report["batch"][0]
    num_generated, usage, model = report["generate"]
    assert (num_generated, model) == (1, NAME)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert report["best of"] == 2


def test_embeddings_are_read_as_base64_and_by_langchain(service: LiveServer, run_client: RunClient) -> None:
    """The client asks for base64 unless told otherwise; refusals are its own exceptions."""
    found = run_client("openai", "openai/openai_embeddings", url_of(service))
    floats = [pytest.approx(vector, abs=1e-6) for vector in found["floats"]]
    assert found["base64"] == floats
    assert found["documents"] == floats
    assert found["single"] == found["query"] == floats[1]
    assert found["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert found["ids"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert sum(number * number for number in found["floats"][0]) == pytest.approx(1.0)
    assert sum(number * number for number in found["plain"]) != pytest.approx(1.0)
    assert found["cut"] == ["BadRequestError", 400, "dimensions", "invalid_value"]
    assert found["unknown"] == ["NotFoundError", 404, "model", "model_not_found"]
    assert found["empty"] == ["BadRequestError", 400, "input.0", "invalid_value"]
