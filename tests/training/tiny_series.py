"""Small series and small forecasters: a periodic wave with a slope, as a table or as arrays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.bundle.manifest import Limits
from service.bundle.task_options import ForecastingOptions
from tests.training.exportable import lively
from training.config.networks import ForecasterConfig
from training.data.records import Series
from training.evaluation.task import Question
from training.networks.forecaster import Forecaster
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.scales.series_scale import SeriesScale
from training.preprocessing.windows import example_frames
from training.publish.export import export_bundle
from training.tasks.forecasting import forecasting_options

CHANNELS = ("load", "heat", "wind")
SCALE = SeriesScale(CHANNELS, ("load", "wind"), (100.0, 20.0, 1013.0), (12.0, 5.0, 8.0))
#: Settings of `unroll train forecasting` for a run of a second.
SETTINGS = (
    "network.hidden_size=6",
    "network.look_back=12",
    "network.horizon=5",
    "network.segment=4",
    "network.period=6",
    "training.epochs=2",
    "training.batch_size=16",
)


def wave(num_rows: int, first: int = 0) -> NDArray[np.float64]:
    """`[rows, 3]`: waves with a period of 6 rows on different levels, one of them rising."""
    time = np.arange(first, first + num_rows)
    turn = 2 * np.pi * time / 6
    columns = (100 + 12 * np.sin(turn), 20 + 5 * np.cos(turn) + 0.1 * time, 1013 + 8 * np.sin(turn + 1))
    return np.stack(columns, axis=1)


def series(num_rows: int = 60, targets: tuple[str, ...] = CHANNELS) -> Series:
    return Series(CHANNELS, targets, wave(num_rows), (), num_rows)


def write_table(path: Path, num_rows: int, first: int = 0) -> Path:
    """Write the wave as a CSV file with an hourly date and rounded numbers."""
    start = datetime(2020, 2, 27) + timedelta(hours=first)  # noqa: DTZ001 - a file without a time zone
    rows = [
        ",".join([f"{start + timedelta(hours=n)}", *(f"{value:.3f}" for value in values)])
        for n, values in enumerate(wave(num_rows, first))
    ]
    path.write_text("\n".join([f"date,{','.join(CHANNELS)}", *rows, ""]), encoding="utf-8")
    return path


def config(**changes: object) -> ForecasterConfig:
    """A forecaster of 12 rows to 5 in segments of 4, so that the last segment exceeds the horizon."""
    sizes = {"hidden_size": 7, "look_back": 12, "horizon": 5, "segment": 4, "period": 6, "dropout": 0.0}
    return ForecasterConfig.model_validate(sizes | changes)


def forecaster(**changes: object) -> Forecaster:
    """A forecaster with random weights, large enough for every gate to affect the output."""
    return lively(Forecaster(config(**changes), SCALE)).eval()


def options(**changes: object) -> ForecastingOptions:
    return forecasting_options(config(**changes), SCALE)


def publish_forecaster(network: Forecaster, models: Path, name: str = "tiny-forecaster") -> Path:
    """Export and verify a network, with windows of the wave as examples."""
    draft = BundleDraft(name, forecasting_options(network.config, SCALE), {}, limits=Limits(max_input_tokens=40))
    questions = [Question(frames) for frames in example_frames(series(), network.config, 2)]
    return export_bundle(network, draft, questions, models).path
