"""The example requests in `/docs`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from service.api.examples.answers import PREDICT_EXAMPLES
from service.api.schemas import PredictRequest
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.tasks.inputs.png import PictureSize, read_png

MODELS = Path(__file__).parents[3] / "models"
EXAMPLES: dict[str, dict[str, Any]] = {name: example["value"] for name, example in PREDICT_EXAMPLES.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_request_that_its_model_answers(name: str) -> None:
    """Every example is a valid request, and is answered by its model where that is installed."""
    request = PredictRequest.model_validate(EXAMPLES[name])
    bundle = MODELS / str(request.model) / "1"
    if not bundle.is_dir():
        return
    opened = open_bundle(bundle, device="cpu", threads=1)
    inputs: Any = request.inputs
    for one in inputs if isinstance(inputs, list) else [inputs]:
        assert answer_one(opened, one, request.parameters or {}).model_dump()


def test_the_picture_is_a_yellow_disc_on_white() -> None:
    content = base64.b64decode(EXAMPLES["describe"]["inputs"]["png"])
    pixels = read_png(content, PictureSize(32, 32))
    assert pixels[16, 16].tolist() == [250, 200, 40]
    assert pixels[0, 0].tolist() == [255, 255, 255]
