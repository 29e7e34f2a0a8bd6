"""`GET /models` and `GET /models/{name}`: what is here, in which state, and what each bundle says about itself."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from service.api.dependencies import RegistryDependency
from service.api.examples import MODEL_RESPONSES, MODELS_RESPONSES
from service.api.schemas import ModelDetails, ModelList, ModelVersion
from service.bundle.load import CARD_FILE, Bundle
from service.errors import UnknownModel
from service.inference.engine import Engine
from service.inference.registry import Entry

router = APIRouter(tags=["models"])

ModelPath = Annotated[str, Path(max_length=64, examples=["pos-en"])]
VersionQuery = Annotated[str | None, Query(max_length=9, description="the highest if left out", examples=["1"])]


@router.get("/models", responses=MODELS_RESPONSES, summary="List the models")
async def list_models(registry: RegistryDependency) -> ModelList:
    """Every version of every model, the failed ones too. Works while the service is not ready."""
    defaults = {name: registry.versions(name)[-1] for name in {entry.name for entry in registry.entries}}
    return ModelList(
        models=[ModelVersion(**_summary(entry, defaults[entry.name] is entry)) for entry in registry.entries]
    )


@router.get("/models/{name}", responses=MODEL_RESPONSES, summary="Describe one model")
async def describe_model(name: ModelPath, registry: RegistryDependency, version: VersionQuery = None) -> ModelDetails:
    """Its card, limits, scores, options, and the parameters that requests may have."""
    versions = registry.versions(name)
    chosen = [entry for entry in versions if version in (None, entry.version)]
    if not chosen:
        available = [entry.version for entry in versions]
        raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(available)}", available)
    entry = chosen[-1]
    details = await asyncio.to_thread(_details, entry.engine) if entry.engine else {}
    return ModelDetails(
        **_summary(entry, entry is versions[-1]), **details, versions=[other.version for other in versions]
    )


def _summary(entry: Entry, is_default: bool) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": entry.name, "version": entry.version, "state": entry.state}
    summary |= {"reason": entry.reason or None, "is_default": is_default}
    if entry.engine is not None:
        manifest = entry.engine.opened.bundle.manifest
        summary |= manifest.model_dump(include={"task", "description", "language", "licence"})
    return summary


def _details(engine: Engine) -> dict[str, Any]:
    """What is only worth sending for one model. Reads the card from disk."""
    bundle = engine.opened.bundle
    details = bundle.manifest.model_dump(
        mode="json", include={"options", "limits", "labels", "scores", "parity", "training"}
    )
    return details | {
        "parameters": engine.task.parameters_type.model_json_schema(),
        "reads_chunks": bundle.manifest.reads_chunks,
        "precision": engine.opened.runner.precision,
        "provider": engine.opened.runner.provider,
        "digest": bundle.digest,
        "card": _card(bundle),
    }


def _card(bundle: Bundle) -> str | None:
    try:
        return (bundle.path / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
