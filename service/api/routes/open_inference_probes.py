"""`/v2/health/live`, `/v2/health/ready` and the readiness of models, as the Open Inference Protocol has them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from service.api.dependencies import RegistryDependency
from service.api.examples.answers import MODEL_RESPONSES
from service.api.examples.open_inference import LIVE_RESPONSES, MODEL_READY_RESPONSES, READY_RESPONSES, Responses

router = APIRouter(tags=["open inference protocol"])


class Live(BaseModel):
    """Whether the process makes progress."""

    live: bool


class Ready(BaseModel):
    """Whether the service is ready."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model answers."""

    name: str
    ready: bool


def _not(answer: type[BaseModel]) -> Responses:
    """The same body with a false value."""
    return {503: {"description": "It is not", "model": answer}}


@router.get(
    "/v2/health/live",
    operation_id="v2_server_live",
    response_model=Live,
    responses=LIVE_RESPONSES | _not(Live),
    summary="Is the server alive?",
)
async def live(request: Request, registry: RegistryDependency) -> Response:
    """200 while the server and its lanes work; see `/health/live`."""
    is_live = not registry.standstill(request.app.state.settings.max_run_s)
    return JSONResponse({"live": is_live}, 200 if is_live else 503)


@router.get(
    "/v2/health/ready",
    operation_id="v2_server_ready",
    response_model=Ready,
    responses=READY_RESPONSES | _not(Ready),
    summary="Is the server ready?",
)
async def ready(registry: RegistryDependency) -> Response:
    """200 when the service is ready; `/health/ready` says why it is not."""
    is_ready = not registry.reasons()
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get(
    "/v2/models/{model}/ready",
    operation_id="v2_model_ready",
    response_model=ModelReady,
    responses=MODEL_READY_RESPONSES | _not(ModelReady) | {404: MODEL_RESPONSES[404]},
    summary="Is a model ready?",
)
async def model_ready(model: str, registry: RegistryDependency) -> Response:
    """200 when the model answers, 503 when it does not, 404 when there is none of this name."""
    return _ready(registry, model, None)


@router.get(
    "/v2/models/{model}/versions/{version}/ready",
    operation_id="v2_model_version_ready",
    response_model=ModelReady,
    responses=MODEL_READY_RESPONSES | _not(ModelReady) | {404: MODEL_RESPONSES[404]},
    summary="Is a version of a model ready?",
)
async def version_ready(model: str, version: str, registry: RegistryDependency) -> Response:
    """The same for one version."""
    return _ready(registry, model, version)


def _ready(registry: RegistryDependency, model: str, version: str | None) -> Response:
    is_ready = not registry.entry(model, version).obstacle
    return JSONResponse({"name": model, "ready": is_ready}, 200 if is_ready else 503)
