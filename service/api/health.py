"""`/health/live`, `/health/ready`, `/metrics`, and the way from `/` to the documentation."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import RedirectResponse, Response

from service.api.dependencies import RegistryDependency
from service.api.examples import LIVE_RESPONSES, METRICS_RESPONSES, READY_RESPONSES
from service.api.schemas import Health

router = APIRouter(tags=["operations"])


@router.get("/health/live", responses=LIVE_RESPONSES, summary="Is the process alive?")
async def live() -> Health:
    """200 as soon as the server answers at all, also while bundles load."""
    return Health(status="live")


@router.get("/health/ready", response_model=Health, responses=READY_RESPONSES, summary="Is the service ready?")
async def ready(registry: RegistryDependency) -> Response:
    """200 once every bundle has passed its self-check; 503 with reasons before that, or when one has failed.

    While one bundle has failed the others still answer, but the service is not ready: a roll-out should stop.
    """
    reasons = registry.reasons()
    health = Health(status="not_ready" if reasons else "ready", reasons=reasons)
    return Response(health.model_dump_json(), 503 if reasons else 200, media_type="application/json")


@router.get("/metrics", response_class=Response, responses=METRICS_RESPONSES, summary="Metrics for Prometheus")
def metrics(request: Request) -> Response:
    """All metrics of the service. Runs in a worker thread, because a scrape formats thousands of lines."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    """People who open the address in a browser want the documentation."""
    return RedirectResponse("/docs")
