"""`GET /v1/models` and `GET /v1/models/{model}`: one answer with the fields of OpenAI and of KServe v1."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import json_response
from service.bundle.load import MANIFEST_FILE
from service.inference.engines.bundle_entry import BundleEntry

_OWNER = "unroll"
_NS_PER_S = 1_000_000_000


class ModelObject(BaseModel):
    """A model. `id`, `object`, `created` and `owned_by` are OpenAI's, `name` and `ready` KServe's."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    name: str
    ready: bool
    version: str
    task: str | None


class ModelObjects(BaseModel):
    """`data` is OpenAI's list, `models` has the names as KServe lists them."""

    object: str = "list"
    data: list[ModelObject]
    models: list[str]


async def list_models(call: Call, _: bytes) -> Response:
    """All models, those that `/v1/completions` can use first: some clients take the first there is."""
    registry = call.registry
    entries = [registry.entry(name) for name in sorted({entry.name for entry in registry.entries})]
    models = sorted((model_object(entry) for entry in entries), key=_is_second)
    body = {"object": "list", "data": models, "models": [model["id"] for model in models]}
    return json_response(body, 200)


async def retrieve_model(call: Call, _: bytes) -> Response:
    """One model, and whether it is ready; 404 if there is none of this name."""
    return json_response(model_object(call.registry.entry(call.path_values["model"])), 200)


def model_object(entry: BundleEntry) -> dict[str, Any]:
    """A `ModelObject` as JSON values; `task` is null where it is not known."""
    return {
        "id": entry.name,
        "object": "model",
        "created": _created_s(entry),
        "owned_by": _OWNER,
        "name": entry.name,
        "ready": not entry.obstacle,
        "version": entry.version,
        "task": entry.task,
    }


def _created_s(entry: BundleEntry) -> int:
    """When the manifest was written, in seconds since 1970; 0 while that is not known."""
    return next((mtime_ns // _NS_PER_S for name, _, mtime_ns in entry.fingerprint if name == MANIFEST_FILE), 0)


def _is_second(model: dict[str, Any]) -> bool:
    return not (model["ready"] and model["task"] == "generation")
