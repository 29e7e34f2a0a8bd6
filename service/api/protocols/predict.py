"""`POST /predict`: tagging, parsing, classification, translation, forecasting, captioning, named arrays."""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.examples.answers import PREDICT_EXAMPLES, PREDICT_RESPONSES
from service.api.protocol import PlainResponse, Protocol, Route
from service.api.schemas import PredictRequest, PredictResponse
from service.inference.engines.predict_engine import PredictEngine, Prediction
from service.tasks.inputs.json_input import JsonInputs


async def predict(call: Call, body: PredictRequest) -> Response:
    """One prediction for each input, in order. Inputs may differ in length; no request waits for a batch to fill."""
    engine = call.predict_engine(body.model, body.version, body.state)
    inputs = cast(JsonInputs, body.inputs)
    call.note_texts(inputs)
    if body.state is None and not body.return_state:
        work = engine.predict(inputs, body.parameters or {}, call.deadline_s, call.sharer)
        return _response(call, engine, await call.unless_client_leaves(work))
    return await _predict_chunk(body, inputs, call, engine)


async def _predict_chunk(body: PredictRequest, inputs: JsonInputs, call: Call, engine: PredictEngine) -> Response:
    owner, sealer = call.owner_of_states(engine), call.state_storage.sealer
    before = None if body.state is None else sealer.open(body.state, owner)
    is_last = not body.return_state  # nobody can continue without the state
    work = engine.predict_chunk(inputs, body.parameters or {}, call.deadline_s, before, call.sharer, is_last)
    prediction = await call.unless_client_leaves(work)
    state = prediction.state if body.return_state else None
    token = None if state is None else sealer.seal(state.to_bytes(), owner)
    return _response(call, engine, prediction, token)


def _response(call: Call, engine: PredictEngine, prediction: Prediction, token: str | None = None) -> Response:
    """A `PredictResponse`, written without validation: every part was made by our own code."""
    manifest = engine.opened.bundle.manifest
    call.record.note_timings(prediction.timings)
    body: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "predictions": prediction.answers,
        "timings": prediction.timings._asdict(),
    }
    if sound_s := prediction.sound_s:
        body["audio_s"] = round(sound_s, 6)
        body["real_time_factor"] = round(prediction.timings.total_ms / 1000 / sound_s, 6)
    if token is not None:
        body["state"] = token
    return PlainResponse(to_json(body))


PROTOCOL = Protocol(
    name="predict",
    tag="inference",
    routes=[
        Route(
            "/predict",
            predict,
            PredictRequest,
            answer=PredictResponse,
            names_model=True,
            takes_sound=True,
            summary="Tag, parse, classify, translate, forecast, describe",
            examples=PREDICT_EXAMPLES,
            responses=PREDICT_RESPONSES,
        )
    ],
)
