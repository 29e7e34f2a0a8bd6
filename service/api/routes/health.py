"""`/health/live`, `/health/ready` and `/metrics`; `/health` and `/ping`, as other servers' clients ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from service.api.dependencies import RegistryDependency, require_admin_for_metrics
from service.api.error_table import json_response
from service.api.examples.answers import (
    HEALTH_RESPONSES,
    LIVE_RESPONSES,
    METRICS_RESPONSES,
    MODEL_RESPONSES,
    READY_RESPONSES,
)
from service.api.schemas import Health
from service.inference.engines.registry import Registry

router = APIRouter(tags=["operations"])

ModelPath = Annotated[str, Path(max_length=64, examples=["shakespeare"])]


@router.get(
    "/health/live",
    operation_id="check_live",
    response_model=Health,
    responses=LIVE_RESPONSES,
    summary="Is the process alive?",
)
async def live(request: Request, registry: RegistryDependency) -> Response:
    """200 while the server and its lanes work, also while bundles load; 503 if only a restart will help.

    That is the case if a lane has ended, or has been in one run of a graph for longer than `UNROLL_MAX_RUN_S`.
    """
    return _answer(live_health(registry, request.app.state.settings.max_run_s))


@router.get(
    "/health/ready",
    operation_id="check_ready",
    response_model=Health,
    responses=READY_RESPONSES,
    summary="Is the service ready?",
)
async def ready(registry: RegistryDependency) -> Response:
    """200 once every bundle has passed its self-check; 503 with reasons before that, or if one has failed.

    The other models still answer if one has failed, but the service is not ready, so that a rollout stops.
    `UNROLL_READY` is the policy: all bundles (the default), any of them, or those of the models that it names.
    Of several workers at least half must be ready; `reasons` names those that are not, also with 200.
    """
    return _answer(ready_health(registry))


@router.get(
    "/health",
    operation_id="check_health",
    response_class=Response,
    responses=HEALTH_RESPONSES,
    summary="As /health/ready, for TGI's clients",
)
@router.get(
    "/ping",
    operation_id="ping",
    response_class=Response,
    responses=HEALTH_RESPONSES,
    summary="As /health/ready, for SageMaker",
)
async def health(registry: RegistryDependency) -> Response:
    """200 without a body once the service is ready, else 503 with the reasons."""
    return _bare_health(registry.reasons())


@router.get(
    "/models/{name}/health",
    operation_id="check_model",
    response_class=Response,
    responses={**HEALTH_RESPONSES, 404: MODEL_RESPONSES[404], 422: MODEL_RESPONSES[422]},
    summary="Is this model ready?",
)
async def model_health(name: ModelPath, registry: RegistryDependency) -> Response:
    """200 without a body once the model answers, else 503 with the reason."""
    obstacle = registry.entry(name).obstacle
    return _bare_health([obstacle] if obstacle else [])


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses=METRICS_RESPONSES,
    summary="Metrics for Prometheus",
    dependencies=[Depends(require_admin_for_metrics)],
)
async def metrics(request: Request) -> Response:
    """All metrics of the service, in the OpenMetrics format with exemplars if the client accepts it.

    Whichever worker is asked answers for all.
    """
    text, media_type = await request.app.state.scrape(request.headers.get("accept", ""))
    return Response(text, media_type=media_type)


def _bare_health(reasons: Sequence[str]) -> Response:
    if not reasons:
        return Response()
    body = {"error": "; ".join(reasons), "error_type": "healthcheck", "reasons": list(reasons)}
    return json_response(body, 503)


def live_health(registry: Registry, max_run_s: float) -> Health:
    """What `/health/live` says; a run that takes longer than `max_run_s` is stuck."""
    reason = registry.standstill(max_run_s)
    return Health(status="not_live", reasons=[reason]) if reason else Health(status="live")


def ready_health(registry: Registry) -> Health:
    """What `/health/ready` says."""
    reasons = registry.reasons()
    if reasons:
        return Health(status="not_ready", reasons=reasons)
    return Health(status="ready", reasons=registry.missing_workers())


def _answer(health: Health) -> Response:
    code = 200 if health.status in ("live", "ready") else 503
    return Response(health.model_dump_json(), code, media_type="application/json")
