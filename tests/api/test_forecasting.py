"""`POST /predict` with frames of a time series: answers, validation and the model's description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.training.tiny_series import forecaster, publish_forecaster

QUANTILES = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasting") / "models"
    publish_forecaster(forecaster(mixing="joint", quantiles=QUANTILES), folder)
    return folder


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[TestClient]:
    with running_service(models) as client:
        yield client


def predictions(client: TestClient, inputs: object) -> list[dict[str, Any]]:
    response = client.post("/predict", json={"inputs": inputs})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def test_times_in_a_request_give_times_in_the_answer(models: Path, served: TestClient) -> None:
    """Texts and numbers are taken; a wrong one is refused with its place; without times the answer has none."""
    inputs = load_bundle(models / "tiny-forecaster" / "1").examples[0].inputs
    (found,) = predictions(served, inputs | {"times": ["2024-01-30", "2024-01-31"]})
    assert found["times"][:2] == ["2024-02-01", "2024-02-02"]
    (found,) = predictions(served, [inputs | {"times": [1706695200, 1706698800]}])
    assert found["times"][0] == "1706702400"
    assert "times" not in predictions(served, inputs)[0]
    refused = served.post("/predict", json={"inputs": inputs | {"times": ["2024-01-30", "late"]}})
    assert (refused.status_code, "'late' is not a time" in refused.text) == (422, True)


@pytest.mark.parametrize(("number", "status"), [(1.8e18, 200), (2.0**64, 200), (-2e19, 422), (1e38, 422)])
def test_numbers_too_large_to_compute_with_are_refused(
    models: Path, served: TestClient, number: float, status: int
) -> None:
    inputs = load_bundle(models / "tiny-forecaster" / "1").examples[0].inputs
    frames = [list(frame) for frame in inputs["frames"]]
    frames[3][1], frames[-1][0] = number, 0.0
    response = served.post("/predict", json={"inputs": {"frames": frames}})
    assert response.status_code == status, response.text
    assert status == 200 or response.json()["detail"][0]["field"] == "inputs.frames.3.1"


def test_forecasts_come_with_their_quantiles(models: Path, served: TestClient) -> None:
    """The recorded examples get their forecasts and quantiles, in one request or alone."""
    examples = load_bundle(models / "tiny-forecaster" / "1").examples
    found = predictions(served, [example.inputs for example in examples])
    assert differences([example.answer for example in examples], found, 1e-5) == []
    assert differences([examples[0].answer], predictions(served, examples[0].inputs), 1e-5) == []
    assert found[0]["channels"] == ["load", "wind"]
    assert found[0]["quantiles"].keys() == {"0.1", "0.5", "0.9"}
    for rows in (found[0]["forecast"], *found[0]["quantiles"].values()):
        assert [len(row) for row in rows] == [2] * 5


def test_a_forecaster_is_ready_and_counts_what_it_reads(served: TestClient) -> None:
    """Frames are counted as tokens, none of them unknown, and OpenAPI describes the answer."""
    assert served.get("/health/ready").status_code == 200
    assert 'unroll_read_tokens_total{model="tiny-forecaster"}' in served.get("/metrics").text
    schemas = served.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["ForecastingAnswer"]["required"] == ["forecast", "channels"]


def test_a_later_frame_changes_the_forecast_and_an_early_one_does_not(models: Path, served: TestClient) -> None:
    """Only frames inside the window affect the forecast, so that longer histories may be sent."""
    frames = load_bundle(models / "tiny-forecaster" / "1").examples[0].inputs["frames"]
    bodies = (frames, [[0.0, 0.0, 0.0], *frames], [*frames, frames[0]])
    same, longer, later = (
        served.post("/predict", json={"inputs": {"frames": body}}).json()["predictions"] for body in bodies
    )
    assert same == longer
    assert same != later


@pytest.mark.parametrize(
    ("inputs", "field", "reason"),
    [
        ({"frames": [[1.0, 2.0, 3.0]] * 11}, "inputs.frames", "there are 11 frames, this model needs the last 12"),
        ([{"frames": [[1.0, 2.0]] * 12}], "inputs.0.frames.0", "this model takes 3: load, heat, wind"),
        ([{"frames": [[1.0, 2.0, 3.0]] * 11 + [[1.0, 2.0]]}], "inputs.0.frames.11", "the number of values is 2"),
        ("tomorrow?", "inputs", "takes frames of numbers, not text"),
    ],
)
def test_what_cannot_be_forecast_is_a_422_with_its_path(
    inputs: object, field: str, reason: str, served: TestClient
) -> None:
    response = served.post("/predict", json={"inputs": inputs})
    assert response.status_code == 422
    assert response.json()["detail"][0]["field"] == field
    assert reason in response.json()["error"]


def test_the_model_says_what_it_takes(served: TestClient) -> None:
    """`GET /models/tiny-forecaster` and the card describe channels, window and horizon."""
    details = served.get("/models/tiny-forecaster").json()
    options = details["options"]
    assert (options["channels"], options["targets"]) == (["load", "heat", "wind"], ["load", "wind"])
    assert (options["look_back"], options["horizon"]) == (12, 5)
    assert "Forecasts load, wind for the next 5 steps" in details["card"]
    assert "It needs 12 frames" in details["card"]
