"""`POST /predict`: tagging, classification and translation."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from service.api.dependencies import Deadline, RegistryDependency, SettingsDependency, note_engine, unless_client_leaves
from service.api.examples import PREDICT_EXAMPLES, PREDICT_RESPONSES
from service.api.schemas import PredictRequest, PredictResponse, StageTimings
from service.errors import InvalidInput
from service.inference.engine import PredictEngine, Prediction

router = APIRouter(tags=["inference"])


@router.post(
    "/predict", response_model=PredictResponse, responses=PREDICT_RESPONSES, summary="Tag, classify, translate"
)
async def predict(
    request: Request,
    body: PredictRequest = Body(openapi_examples=PREDICT_EXAMPLES),
    *,
    registry: RegistryDependency,
    settings: SettingsDependency,
    deadline_s: Deadline,
) -> Response:
    """One prediction for each input, in order. Long and short inputs may be mixed; nobody waits for a batch to fill."""
    if isinstance(body.inputs, list) and len(body.inputs) > settings.max_inputs_per_request:
        limit = settings.max_inputs_per_request
        raise InvalidInput(f"{len(body.inputs)} inputs in one request, at most {limit} are allowed", ("inputs",))
    engine = registry.find("predict", body.model, body.version)
    assert isinstance(engine, PredictEngine)
    note_engine(request, engine)
    work = engine.predict(body.inputs, body.parameters or {}, deadline_s)
    prediction = await unless_client_leaves(request, work)
    request.state.record.timings = prediction.timings
    return Response(_response(engine, prediction).model_dump_json(), media_type="application/json")


def _response(engine: PredictEngine, prediction: Prediction) -> PredictResponse:
    """Built without validation: every part was made by our own code."""
    manifest = engine.opened.bundle.manifest
    return PredictResponse.model_construct(
        model=manifest.name,
        version=manifest.version,
        task=manifest.task,
        predictions=prediction.answers,
        timings=StageTimings.model_construct(**asdict(prediction.timings)),
    )
