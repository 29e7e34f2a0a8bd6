"""The extension for statistics: counts and times of each version, in nanoseconds, as Triton names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.api.call import TaskEngine
from service.observability.inference_statistics import Total

_NOTHING = {"count": 0, "ns": 0}


def model_statistics(engines: Sequence[TaskEngine]) -> dict[str, Any]:
    """The statistics of these versions."""
    return {"model_stats": [_statistics(engine) for engine in engines]}


def added(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of the same versions in several workers, as sums."""
    return {"model_stats": [_added(one, _same_version(one, others)) for one in own["model_stats"]]}


def _same_version(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    key = own["name"], own["version"]
    return [one for other in others for one in other["model_stats"] if (one["name"], one["version"]) == key]


def _added(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    parts = [own, *others]
    batches: dict[int, list[dict[str, Any]]] = {}
    for part in parts:
        for batch in part["batch_stats"]:
            batches.setdefault(batch["batch_size"], []).append(batch)
    return {
        **own,
        "last_inference": max(part["last_inference"] for part in parts),
        "inference_count": sum(part["inference_count"] for part in parts),
        "execution_count": sum(part["execution_count"] for part in parts),
        "inference_stats": _summed([part["inference_stats"] for part in parts]),
        "batch_stats": [{**_summed(batches[size]), "batch_size": size} for size in sorted(batches)],
    }


def _summed(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Durations by name, each added."""
    return {
        name: {key: sum(part[name][key] for part in parts) for key in ("count", "ns")}
        for name, duration in parts[0].items()
        if isinstance(duration, dict)
    }


def _statistics(engine: TaskEngine) -> dict[str, Any]:
    manifest, found, runs = engine.opened.bundle.manifest, engine.statistics, engine.runs.by_size
    return {
        "name": manifest.name,
        "version": manifest.version,
        "last_inference": int(found.last_s * 1000),
        "inference_count": found.num_inputs,
        "execution_count": sum(total.times for total in runs.values()),
        "inference_stats": {
            "success": _duration(found.success),
            "fail": _duration(found.failure),
            "queue": _duration(found.queue),
            "compute_input": _duration(found.preprocess),
            "compute_infer": _duration(found.inference),
            "compute_output": _duration(found.postprocess),
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _NOTHING,
                "compute_infer": _duration(total),
                "compute_output": _NOTHING,
            }
            for size, total in sorted(runs.items())
        ],
    }


def _duration(total: Total) -> dict[str, int]:
    return {"count": total.times, "ns": round(total.seconds * 1e9)}
