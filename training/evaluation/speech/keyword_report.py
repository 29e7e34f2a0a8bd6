"""Score a bundle as a keyword spotter: a sweep over thresholds, the best of them confirmed, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from service.bundle.load import Bundle, load_bundle
from service.bundle.task_options import TranscriptionOptions
from service.errors import UnrollError
from service.tasks.catalogue import predicts, task_of
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import Runner
from training.data.readers.speech.keyword_streams import Stream, read_keyword_streams
from training.evaluation.speech.keyword_spotting import (
    OperatingPoint,
    best_point,
    detections,
    operating_points,
)

#: The sweep is made of what is told at this threshold.
LOWEST_THRESHOLD: Final = 0.05
#: Rates of false alarms an hour that the curve is read at.
RATES: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_HOUR_S: Final = 3600.0


def score_keywords(
    bundle_path: Path,
    table: Path,
    keywords: Sequence[str] = (),
    most_per_hour: float = 1.0,
    picture: Path | None = None,
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Found keywords in percent against false alarms an hour, on streams with known places.

    The threshold is chosen on these very streams; the figures at it are of a second pass with that threshold.

    Raises:
        DataFault: the table or a sound cannot be read.
        UnrollError: the bundle does no keyword spotting.
    """
    bundle, streams = load_bundle(bundle_path), read_keyword_streams(table)
    said = sorted({place.keyword for stream in streams for place in stream.places})
    wanted = list(keywords) or said
    if not wanted:
        raise UnrollError(f"{table}: no keyword is said in these streams: name those that must not be found")
    streams = [stream._replace(places=[p for p in stream.places if p.keyword in wanted]) for stream in streams]
    task, runner = _task(bundle), runner or _own_runner(bundle)
    points = operating_points(streams, detections(task, runner, streams, wanted, LOWEST_THRESHOLD))
    best = best_point(points, most_per_hour)
    if picture is not None:
        draw_curve(points, picture)
    scores: dict[str, Any] = {
        "model": bundle.manifest.name,
        "keywords": len(wanted),
        "said": sum(len(stream.places) for stream in streams),
        "hours": sum(stream.seconds for stream in streams) / _HOUR_S,
        **{f"found_at_{rate:g}_per_hour": _found(points, rate) for rate in RATES},
    }
    return scores if best is None else {**scores, **_confirmed(task, runner, streams, wanted, best.threshold)}


def _task(bundle: Bundle) -> PredictTask[Any, Any]:
    task = task_of(bundle)
    if not predicts(task) or not isinstance(bundle.manifest.options, TranscriptionOptions):
        raise UnrollError(f"{bundle.manifest.name} is for {bundle.manifest.task}, and spots no keywords")
    return task


def _own_runner(bundle: Bundle) -> Runner:
    from service.inference.runtime.ort_runner import OrtRunner

    return OrtRunner(bundle, threads=0)


def _found(points: Sequence[OperatingPoint], rate: float) -> float:
    best = best_point(points, rate)
    return best.found if best else 0.0


def _confirmed(
    task: PredictTask[Any, Any], runner: Runner, streams: Sequence[Stream], keywords: Sequence[str], threshold: float
) -> dict[str, Any]:
    """The figures at a threshold as a request has it."""
    points = operating_points(streams, detections(task, runner, streams, keywords, threshold))
    found, false_per_hour = (points[-1].found, points[-1].false_per_hour) if points else (0.0, 0.0)
    return {"threshold": threshold, "found": found, "false_per_hour": false_per_hour}


def draw_curve(points: Sequence[OperatingPoint], picture: Path) -> None:
    """Draw found keywords over false alarms an hour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 3.6), layout="constrained")
    alarms, found = [each.false_per_hour for each in points], [each.found for each in points]
    axis.step(alarms, found, where="post", marker=".", markersize=3)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set_xlim(left=0)
    axis.set_ylim(0, 101)
    axis.set_xlabel("false alarms an hour")
    axis.set_ylabel("keywords found, %")
    axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
