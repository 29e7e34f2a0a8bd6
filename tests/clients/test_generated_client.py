"""`openapi-python-client` makes a client of the committed OpenAPI document without a warning, and the client works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ROOT, RunClient
from tests.live_server import LiveServer

DOCUMENT = ROOT / "service/docs/openapi.json"


@pytest.fixture(scope="module")
def report(service: LiveServer, run_client: RunClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("generated") / "client"
    address = f"http://127.0.0.1:{service.port}"
    return run_client("openapi", "openapi/generated_client", str(DOCUMENT), str(folder), address)


def test_it_is_generated_without_a_warning(report: Any) -> None:
    assert report["said"] == "Generating FOLDER"


def test_answers_have_the_types_of_their_tasks(report: Any) -> None:
    """The types of answers are told apart by their fields alone."""
    kinds = {name: [report[name][0], *{kind for kind, _ in report[name][1]}] for name in ("tagged", "classified")}
    assert kinds == {
        "tagged": ["PredictResponse", "TaggingAnswer"],
        "classified": ["PredictResponse", "ClassificationAnswer"],
    }
    assert [[word["text"] for word in one["tokens"]] for _, one in report["tagged"][1]] == [
        ["the", "cat", "sat"],
        ["a", "dog"],
    ]
    assert len(report["classified"][1][0][1]["top_k"]) == 2
    assert report["translated"][1][0][0] == "TranslationAnswer"


def test_texts_are_generated_whole_and_streamed(report: Any) -> None:
    kind, answer = report["generated"]
    assert (kind, len(answer["details"]["tokens"])) == ("GenerateResponse", 3)
    assert report["streamed"].count("data:") == 2
    assert report["completed"][0] == "CompletionResponse"
    assert report["completed"][1]["usage"]["completion_tokens"] == 2


def test_other_protocols_have_types_too(report: Any) -> None:
    kind, answer = report["inferred"]
    assert (kind, [output["name"] for output in answer["outputs"]]) == ("InferAnswer", ["label", "score", "scores"])


def test_models_and_health_are_described(report: Any) -> None:
    assert report["models"][0] == "ModelList"
    assert {"tiny-tagger", "tiny-generator"} <= {model["name"] for model in report["models"][1]["models"]}
    assert report["model"][1]["labels"]
    assert report["rollout"][0] == "RolloutState"
    assert (report["live"], report["ready"][1]["status"]) == (["Health", {"status": "live", "reasons": []}], "ready")
    assert report["health"] == 200
    assert report["metrics"].startswith("# HELP")


def test_errors_are_typed_in_the_form_of_each_protocol(report: Any) -> None:
    status, kind, answer = report["absent"]
    assert (status, kind, answer["error_type"]) == (404, "ErrorResponse", "unknown_model")
    assert "tiny-tagger" in answer["available"]
    status, kind, answer = report["invalid"]
    assert (status, kind, answer["detail"][0]["field"]) == (422, "ErrorResponse", "inputs.1")
    kind, answer = report["openai_absent"]
    assert (kind, answer["error"]["code"]) == ("OpenAIError", "model_not_found")
    assert report["v2_absent"][0] == "ErrorResponse"


def test_it_calls_from_asyncio_with_a_key(report: Any) -> None:
    assert report["at_once"] == ["PredictResponse"] * 3
