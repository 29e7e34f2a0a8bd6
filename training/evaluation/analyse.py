"""Score a bundle on a file and look at its errors in one go (`unroll evaluate --analysis`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service.bundle.load import load_bundle
from training.data.formats.options import ReadOptions
from training.evaluation.analysis.report import ANALYSIS_PARAMETERS, write_analysis
from training.evaluation.answers import Scores, evaluate_bundle
from training.evaluation.predictions import Prediction


def analyse_bundle(
    bundle_path: Path,
    data_path: str | Path,
    folder: Path,
    options: ReadOptions,
    *,
    batch_size: int,
    parameters: Mapping[str, Any],
    say: Callable[[str], None],
) -> Scores:
    """The scores of `evaluate_bundle`; tables, pictures and the page about errors are in `folder` then."""
    manifest = load_bundle(bundle_path).manifest
    predictions: list[Prediction] = []
    asked = {**ANALYSIS_PARAMETERS.get(manifest.task, {}), **parameters}
    scores = evaluate_bundle(
        bundle_path, data_path, options, batch_size=batch_size, parameters=asked, keep=predictions.append
    )
    page = write_analysis(folder, manifest.name, predictions)
    say(f"there is nothing to analyse for {manifest.task}" if page is None else f"what it gets wrong: {page}")
    return scores
