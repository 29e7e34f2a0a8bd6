"""What clients ask of the server itself: metadata, configuration, repository, tracing, logging, shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.call import Call, TaskEngine
from service.api.protocols.open_inference.served_models import describe_model, model_config, model_metadata, split_name
from service.api.protocols.open_inference.statistics import added, model_statistics
from service.distribution import installed_version
from service.errors import InvalidInput, NotReady
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.registry import Registry

#: What is offered beyond the protocol itself, by Triton's names.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "generate",
    "model_configuration",
    "model_repository",
    "parameters",
    "sequence",
    "statistics",
)
_LEVELS = ("error", "warning", "info", "debug")
#: A model that is idle is opened by the next request.
_STATES = {"ready": "READY", "idle": "READY", "loading": "LOADING"}


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "unroll", "version": installed_version(), "extensions": list(EXTENSIONS)}


def metadata(call: Call, name: str, version: str | None) -> dict[str, Any]:
    """What a model takes and gives. Raises UnknownModel, NotReady."""
    served = describe_model(call, name, version)
    model, _ = split_name(call, name)
    return model_metadata(served, [entry.version for entry in call.registry.versions(model)])


def configuration(call: Call, name: str, version: str | None) -> dict[str, Any]:
    """The configuration of a model. Raises UnknownModel, NotReady."""
    return model_config(describe_model(call, name, version), call.settings.max_inputs_per_request)


async def statistics(call: Call, name: str | None, version: str | None) -> dict[str, Any]:
    """Counts and times: of a version, of every version of a model, or of all; in all workers.

    Raises UnknownModel, NotReady.
    """
    own = _statistics(call, name, version)
    return added(own, await call.registry.ask_peers("statistics"))


def statistics_of_worker(registry: Registry) -> dict[str, Any]:
    """Counts and times of all models in this process."""
    return model_statistics(_engines(registry.entries))


def _statistics(call: Call, name: str | None, version: str | None) -> dict[str, Any]:
    if name is None:
        return statistics_of_worker(call.registry)
    model, _ = split_name(call, name)
    entries = [call.registry.entry(model, version)] if version else call.registry.versions(model)
    engines = _engines(entries)
    if not engines:
        raise NotReady(f"{model} is not ready", [entry.obstacle for entry in entries], entries[-1].cause)
    return model_statistics(engines)


def repository_index(call: Call, *, ready_only: bool) -> list[dict[str, str]]:
    """Every version of every model, with its state and the reason for it."""
    return [
        {"name": entry.name, "version": entry.version, "state": state, "reason": entry.reason or _reason(entry)}
        for entry in call.registry.entries
        if (state := _STATES.get(entry.state, "UNAVAILABLE")) == "READY" or not ready_only
    ]


async def load(call: Call, name: str, parameters: Mapping[str, Any]) -> None:
    """Open a model, or take over what changed in its folder.

    Raises:
        InvalidInput: the request brings a configuration or files of its own.
        UnknownModel, BundleError, NotReady: as `Registry.load_model`; what answered before still does.
    """
    for parameter in parameters:
        if parameter == "config" or parameter.startswith("file:"):
            message = "a model is loaded as it lies in the models folder: copy its bundle there, then load it"
            raise InvalidInput(message, ("parameters", parameter[:64]))
    await call.registry.load_model(name)


async def unload(call: Call, name: str) -> None:
    """Close a model until it is loaded again; requests in flight finish. Raises UnknownModel, NotReady."""
    await call.registry.unload_model(name)


def trace_setting() -> dict[str, Any]:
    """Traces are set up by the environment of the service, not here."""
    return {"trace_level": ["OFF"], "trace_rate": "0", "trace_count": "0", "log_frequency": "0", "trace_file": ""}


def log_setting(call: Call) -> dict[str, Any]:
    """The levels that are logged."""
    rank = _LEVELS.index(call.settings.log_level)
    return {
        "log_file": "",
        "log_info": rank >= _LEVELS.index("info"),
        "log_warning": rank >= _LEVELS.index("warning"),
        "log_error": True,
        "log_verbose_level": int(rank == _LEVELS.index("debug")),
        "log_format": "default",
    }


def _reason(entry: BundleEntry) -> str:
    return entry.state if entry.state in ("idle", "unloaded") else ""


def _engines(entries: Sequence[BundleEntry]) -> list[TaskEngine]:
    return [entry.engine for entry in entries if isinstance(entry.engine, TaskEngine)]
