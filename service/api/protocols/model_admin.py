"""Administration of models: load, unload, aliases, traffic weights and shadow traffic, and reload of the models folder.

POST /models/{name}/load      POST /models/{name}/unload      POST /reload
GET, POST /models/{name}/rollout      GET /models/{name}/shadow
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm
from service.api.protocol import Protocol, Responses, Route
from service.api.schemas import RequestBody, Version
from service.bundle.rollout_file import Rollout, ShadowTraffic
from service.errors import BundleError
from service.inference.rollout.shadow_report import ShadowReport


class ModelChoice(RequestBody):
    """All versions of a model, or one. The body may be empty."""

    version: Version | None = Field(None, description="default: all versions")


class RolloutChange(RequestBody):
    """What is not given stays as it is; null removes an alias, the weights, or the shadow."""

    aliases: dict[str, str | None] | None = Field(
        None, max_length=64, description="alias -> version", examples=[{"stable": "3", "canary": "4"}]
    )
    traffic: dict[str, float] | None = Field(
        None, max_length=64, description="alias or version -> weight", examples=[{"stable": 90, "canary": 10}]
    )
    shadow: ShadowTraffic | None = None


class VersionState(BaseModel):
    """One version of a model and what it gets."""

    version: str
    state: str
    reason: str | None
    aliases: list[str]
    traffic_share: float | None = Field(description="of the requests without a version, where they are split")


class RolloutState(BaseModel):
    """The rollout of a model: what its file says, and what follows from it."""

    name: str
    rollout: Rollout
    problem: str | None = Field(description="why the file that is there now was refused; the last good one holds")
    versions: list[VersionState]


class ReloadAnswer(BaseModel):
    """`ok`: something was taken over; `failed`: something was refused, and what answered before still does."""

    outcome: Literal["ok", "unchanged", "failed"]
    problems: list[str] = []


async def load(call: Call, body: ModelChoice) -> Response:
    """Open a model, or take over what changed in its folder; answered when it is ready.

    What cannot be used replaces nothing, and is told with 409.
    """
    name = call.path_values["name"]
    await call.registry.load_model(name, _resolved(call, name, body.version))
    return _state(call, name)


async def unload(call: Call, body: ModelChoice) -> Response:
    """Close a model until it is loaded again; requests in flight finish. It holds for this replica only."""
    name = call.path_values["name"]
    await call.registry.unload_model(name, _resolved(call, name, body.version))
    return _state(call, name)


async def reload(call: Call, _: bytes) -> Response:
    """Take over what changed in the models folder, as on SIGHUP; what failed before is opened once more."""
    registry = call.registry
    outcome = await registry.reload_everywhere()
    names = sorted({entry.name for entry in registry.entries})
    problems = [f"{entry.name} version {entry.version}: {entry.reason}" for entry in registry.entries if entry.reason]
    problems += [rollout.problem for name in names if (rollout := registry.rollout(name)).problem]
    return _json(ReloadAnswer(outcome=outcome, problems=problems))


async def describe_rollout(call: Call, _: bytes) -> Response:
    """Aliases, traffic weights and shadow of a model, and the state of each version."""
    return _state(call, call.path_values["name"])


async def change_rollout(call: Call, body: RolloutChange) -> Response:
    """Change aliases, weights or shadow. They are written to `NAME/rollout.json` and hold at once.

    Other replicas that read the same folder take them over with their next reload.
    """
    name = call.path_values["name"]
    await call.registry.change_rollout(name, body.model_dump(exclude_unset=True))
    return _state(call, name)


async def describe_shadow(call: Call, _: bytes) -> Response:
    """How the answers of the candidate compare with those that callers got, since this replica takes both."""
    name = call.path_values["name"]
    return _json(await call.registry.shadow_report(name))


def _resolved(call: Call, name: str, version: str | None) -> str | None:
    """The version that an alias stands for."""
    return None if version is None else call.registry.rollout(name).rollout.version_of(version)


def _state(call: Call, name: str) -> Response:
    """Raises UnknownModel."""
    rollout = call.registry.rollout(name)
    versions = [
        VersionState(
            version=entry.version,
            state=entry.state,
            reason=entry.reason or None,
            aliases=rollout.aliases_of(entry.version),
            traffic_share=rollout.shares.get(entry.version),
        )
        for entry in call.registry.versions(name)
    ]
    return _json(RolloutState(name=name, rollout=rollout.rollout, problem=rollout.problem or None, versions=versions))


def _json(answer: BaseModel) -> Response:
    return Response(to_json(answer), media_type="application/json")


_REFUSED: Responses = {
    404: {"description": "There is no such model or version."},
    409: {"description": "The bundle, or the file of the rollout, cannot be used. Nothing was changed."},
}
_VERSION = {"version": "4", "state": "ready", "reason": None, "aliases": ["canary"], "traffic_share": 0.1}
_ROLLOUT = {
    "aliases": {"stable": "3", "canary": "4"},
    "traffic": {"stable": 90, "canary": 10},
    "shadow": {"to": "canary", "share": 0.1},
}
_STATE = {"name": "spam-en", "rollout": _ROLLOUT, "problem": None, "versions": [_VERSION]}
_COMPARISON = {
    "version": "3",
    "candidate": "4",
    "compared": 1000,
    "agreed": 987,
    "agreement": 0.987,
    "failed": 0,
    "dropped": 2,
    "mean_score_distance": 0.031,
    "latency": {"mean_ms": 0.4, "p50_ms": 0.4, "p95_ms": 0.7},
    "candidate_latency": {"mean_ms": 0.5, "p50_ms": 0.4, "p95_ms": 0.9},
    "differences": [{"answer": "ham", "candidate": "spam", "count": 13}],
    "errors": {},
    "examples": [],
}


def _example(value: dict[str, Any], refused: Responses) -> Responses:
    return {200: {"content": {"application/json": {"example": value}}}, **refused}


_STATE_RESPONSES = _example(_STATE, _REFUSED)
_SHADOW = {"name": "spam-en", "candidate": "4", "share": 0.1, "comparisons": [_COMPARISON]}

PROTOCOL = Protocol(
    name="model-admin",
    tag="models",
    errors=ErrorForm(rows={BundleError: (409, "bundle_refused")}),
    routes=[
        Route(
            "/models/{name}/load",
            load,
            ModelChoice,
            scope="admin",
            answer=RolloutState,
            operation_id="load_model",
            summary="Load a model",
            default_body=b"{}",
            responses=_STATE_RESPONSES,
        ),
        Route(
            "/models/{name}/unload",
            unload,
            ModelChoice,
            scope="admin",
            answer=RolloutState,
            operation_id="unload_model",
            summary="Unload a model",
            default_body=b"{}",
            responses=_STATE_RESPONSES,
        ),
        Route(
            "/models/{name}/rollout",
            describe_rollout,
            bytes,
            method="GET",
            answer=RolloutState,
            operation_id="get_rollout",
            summary="Describe aliases and traffic",
            responses=_example(_STATE, {404: _REFUSED[404]}),
        ),
        Route(
            "/models/{name}/rollout",
            change_rollout,
            RolloutChange,
            scope="admin",
            answer=RolloutState,
            summary="Change aliases, traffic and shadow",
            responses=_STATE_RESPONSES,
        ),
        Route(
            "/models/{name}/shadow",
            describe_shadow,
            bytes,
            scope="admin",
            method="GET",
            answer=ShadowReport,
            operation_id="get_shadow_report",
            summary="Compare a candidate",
            responses=_example(_SHADOW, {404: _REFUSED[404]}),
        ),
        Route(
            "/reload",
            reload,
            bytes,
            scope="admin",
            answer=ReloadAnswer,
            operation_id="reload_models",
            summary="Reload the models folder",
            responses=_example({"outcome": "ok", "problems": []}, {}),
        ),
    ],
)
