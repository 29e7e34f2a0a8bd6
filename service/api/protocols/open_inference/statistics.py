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
