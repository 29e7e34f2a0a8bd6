"""`GET /models` and `GET /models/{name}`: the models, their state, and the details of each bundle."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from service.api.dependencies import KeyDependency, RegistryDependency
from service.api.examples.answers import MODEL_RESPONSES, MODELS_RESPONSES
from service.api.schemas import ModelDetails, ModelList, ModelVersion
from service.bundle.hidden_output import embedding_size
from service.bundle.load import CARD_FILE, Bundle
from service.bundle.task_options import TensorsOptions
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.engine import Engine
from service.inference.rollout.model_rollout import ModelRollout
from service.tasks.tensors.model_form import described

router = APIRouter(tags=["models"], dependencies=[KeyDependency])

_MAX_EXAMPLES = 6

ModelPath = Annotated[str, Path(max_length=64, examples=["pos-en"])]
VersionQuery = Annotated[
    str | None, Query(max_length=64, description="a version or an alias; default: the one that answers", examples=["1"])
]


@router.get("/models", operation_id="list_models", responses=MODELS_RESPONSES, summary="List the models")
async def list_models(registry: RegistryDependency) -> ModelList:
    """Every version of every model, including failed ones. Available while the service is not ready."""
    defaults = {name: registry.entry(name) for name in {entry.name for entry in registry.entries}}
    return ModelList(
        models=[
            ModelVersion(**_summary(entry, defaults[entry.name] is entry, registry.rollout(entry.name)))
            for entry in registry.entries
        ]
    )


@router.get("/models/{name}", operation_id="get_model", responses=MODEL_RESPONSES, summary="Describe one model")
async def describe_model(name: ModelPath, registry: RegistryDependency, version: VersionQuery = None) -> ModelDetails:
    """Its model card, limits, scores and options, and the parameters of its requests."""
    entry = registry.entry(name, version)
    details = await asyncio.to_thread(_details, entry.engine) if entry.engine else {}
    versions = [other.version for other in registry.versions(name)]
    summary = _summary(entry, entry is registry.entry(name), registry.rollout(name))
    return ModelDetails(**summary, **details, versions=versions)


def _summary(entry: BundleEntry, is_default: bool, rollout: ModelRollout) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": entry.name, "version": entry.version, "state": entry.state}
    summary |= {"reason": entry.reason or rollout.problem or None, "is_default": is_default}
    summary |= {"aliases": rollout.aliases_of(entry.version), "traffic_share": rollout.shares.get(entry.version)}
    summary["task"] = entry.task
    if (manifest := entry.manifest) is not None:
        summary |= {field: getattr(manifest, field) for field in ("description", "language", "licence")}
    return summary


def _details(engine: Engine) -> dict[str, Any]:
    """The details that the list leaves out. Reads the model card from disk."""
    bundle = engine.opened.bundle
    details = bundle.manifest.model_dump(
        mode="json", include={"options", "limits", "labels", "text_labels", "scores", "parity", "training"}
    )
    return details | {
        "parameters": engine.task.parameters_type.model_json_schema(),
        "reads_chunks": bundle.manifest.reads_chunks,
        "embedding_size": embedding_size(bundle.manifest),
        **(described(bundle.manifest) if isinstance(bundle.manifest.options, TensorsOptions) else {}),
        "precision": engine.opened.runner.precision,
        "provider": engine.opened.runner.provider,
        "digest": bundle.digest,
        "examples": [
            {"inputs": one.inputs, "parameters": one.parameters, "answer": one.answer}
            for one in bundle.examples[:_MAX_EXAMPLES]
        ],
        "card": read_card(bundle),
    }


def read_card(bundle: Bundle) -> str | None:
    """The model card in Markdown; None without a readable one."""
    if CARD_FILE not in bundle.manifest.files:  # nobody has checked what lies there, or where a link leads
        return None
    try:
        return (bundle.path / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
