"""KServe's protocol, version 1, which is that of TensorFlow Serving: instances in, predictions out, as JSON.

`GET /v1/models/{model}` belongs to the routes of OpenAI, whose answer has the fields of both.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm
from service.api.examples.open_inference import PREDICT_RESPONSES, refused
from service.api.protocol import Protocol, Route
from service.api.protocols.open_inference.generation import Prompts, generate_all, read_parameters
from service.api.validation.input_forms import Items, require_few
from service.errors import InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.generation.recorded_form import written_answer
from service.tasks.inputs.json_input import JsonInput

_MODEL = "/v1/models/{model}"
_VERSION = "/v1/models/{model}/versions/{version}"
#: What every PNG file begins with, in base64.
_PNG_START = "iVBORw0KGgo"
_GIF_START = "R0lGOD"
#: The keys by which objects tell their kind.
_KINDS = frozenset({"frames", "wav", "audio", "png", "clip", "pictures", "tensors", "b64"})


def _instances(given: Any, info: ValidationInfo) -> Any:
    """Count the instances before any of them is looked at, and give files in base64 the name of their kind."""
    counted = require_few(given, info)
    return [_file(instance) for instance in counted] if isinstance(counted, list) else counted


def _kind_of(text: str) -> str:
    """The name of a file in base64 by its first letters. A PNG file is a picture, whether it is animated or not."""
    if text.startswith(_PNG_START):
        return "png"
    return "clip" if text.startswith(_GIF_START) else "wav"


def _file(instance: Any) -> Any:
    """A file by its kind; an object with names of its own, as this protocol has tensors, as named arrays."""
    match instance:
        case {"b64": str() as text, **rest} if not rest:
            return {_kind_of(text): text}
        case {**arrays} if arrays and arrays.keys().isdisjoint(_KINDS):
            return {"tensors": arrays}
    return instance


class PredictForm(BaseModel):
    """Instances: texts, lists of words, objects with `frames`, `wav`, `png` or `clip`, files as `b64`, named arrays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instances: Annotated[Items, BeforeValidator(_instances)]
    parameters: dict[str, Any] | None = Field(None, description="of the task, as in /predict")
    signature_name: str | None = Field(None, description="has no effect: a model has one signature")


class PredictAnswer(BaseModel):
    """One prediction for each instance, in order: what `predictions` of /predict has."""

    predictions: list[Any]


async def predict(call: Call, body: PredictForm) -> Response:
    """One prediction for each instance; for a language model the continuation of each."""
    engine = call.any_engine(call.path_values["model"], call.path_values.get("version"))
    instances = cast(list[JsonInput], body.instances)
    call.note_texts(instances)
    try:
        if isinstance(engine, GenerationEngine):
            predictions = await _generate(call, engine, body)
        else:
            predictions = await _predict(call, engine, instances, body.parameters or {})
    except InvalidInput as error:
        raise _renamed(error) from error
    return Response(to_json({"predictions": predictions}), media_type="application/json")


async def explain(call: Call, body: bytes) -> Response:
    """Refused: no model here has an explainer."""
    del body
    raise HTTPException(404, f"{call.path_values['model'][:64]} has no explainer: use :predict")


async def _predict(
    call: Call, engine: PredictEngine, instances: list[JsonInput], parameters: dict[str, Any]
) -> list[Any]:
    work = engine.predict(instances, parameters, call.deadline_s, call.sharer)
    prediction = await call.unless_client_leaves(work)
    call.record.note_timings(prediction.timings)
    return prediction.answers


async def _generate(call: Call, engine: GenerationEngine, body: PredictForm) -> list[Any]:
    texts = [instance for instance in body.instances if isinstance(instance, str)]
    if len(texts) != len(body.instances):
        raise InvalidInput("a language model takes texts", ("inputs",))
    prompts = Prompts(texts, read_parameters(body.parameters or {}), call.deadline_s)
    requests = await generate_all(call, engine, prompts)
    return [
        written_answer(request.result(), prompts.parameters, text)
        for request, text in zip(requests, texts, strict=True)
    ]


def _renamed(error: InvalidInput) -> InvalidInput:
    """The error of an engine, in the words of this protocol."""
    if error.field[:1] != ("inputs",):
        return error
    return InvalidInput(error.message, ("instances", *error.field[1:]))


def _both(verb: str, **route: Any) -> list[Route[Any]]:
    return [
        Route(f"{path}:{verb}", scope="any", operation_id=f"v1_{subject}_{verb}", **route)
        for path, subject in ((_MODEL, "model"), (_VERSION, "model_version"))
    ]


PROTOCOL = Protocol(
    name="kserve-v1",
    tag="kserve v1",
    errors=ErrorForm(rows={InvalidInput: (400, "validation")}),
    routes=[
        *_both(
            "predict",
            endpoint=predict,
            body=PredictForm,
            any_media_type=True,
            takes_sound=True,
            answer=PredictAnswer,
            summary="Predict each instance",
            responses=PREDICT_RESPONSES,
        ),
        *_both(
            "explain",
            endpoint=explain,
            body=bytes,
            summary="Refused: there are no explainers",
            responses=refused("there are no explainers", 404),
        ),
    ],
)
