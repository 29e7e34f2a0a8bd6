"""Sounds of a folder, and frames in JSON lines and Parquet: the answers that the bundles recorded."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.bundle.load import Example, load_bundle
from service.offline import Scorer
from service.offline.job.run import FileJob, score_file
from service.offline.reading.options import ReadOptions
from tests.tiny_signals import CONFIGS, write_tiny_signal_bundle
from tests.training.tiny_series import forecaster, publish_forecaster


def scored(scorer: Scorer, source: Path) -> list[dict[str, Any]]:
    out = source.parent / "out.jsonl"
    score_file(FileJob(scorer, source, out, ReadOptions(scorer.kind), overwrites=True))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_sounds_of_a_folder_have_the_recorded_labels(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_signal_bundle(tmp_path / "models", CONFIGS["waveform"], "tiny-sounds"))
    folder = tmp_path / "sounds"
    (folder / "more").mkdir(parents=True)
    (folder / "broken.wav").write_bytes(b"RIFF but no sound")
    for number, example in enumerate(bundle.examples):
        (folder / "more" / f"{number}.wav").write_bytes(base64.b64decode(example.inputs["wav"]))
    rows = scored(Scorer(bundle.path), folder)
    assert [row["file"] for row in rows] == ["broken.wav", *(f"more/{n}.wav" for n in range(len(bundle.examples)))]
    assert rows[0]["error"]
    for row, example in zip(rows[1:], bundle.examples, strict=True):
        assert (row["label"], row["error"]) == (example.answer["label"], None)
        assert row["score"] == pytest.approx(example.answer["score"], abs=1e-5)
    sounds = [base64.b64decode(bundle.examples[0].inputs["wav"]), bundle.examples[0].inputs["wav"], {"bytes": b""}, 3]
    found = Scorer(bundle.path)({"audio": sounds})
    assert found["label"][0] == found["label"][1] == bundle.examples[0].answer["label"]
    assert [error is None for error in found["error"]] == [True, True, False, False]


def test_series_have_the_recorded_forecasts(tmp_path: Path) -> None:
    """A series a line, a series a row of a Parquet file, and an array a cell; broken ones have their reason."""
    bundle = load_bundle(publish_forecaster(forecaster(mixing="joint"), tmp_path / "models"))
    lines = tmp_path / "series.jsonl"
    lines.write_text("".join(json.dumps(example.inputs) + "\n" for example in bundle.examples), encoding="utf-8")
    scorer = Scorer(bundle.path)
    agree(scored(scorer, lines), bundle.examples)
    frames = [example.inputs["frames"] for example in bundle.examples]
    pq.write_table(pa.table({"frames": frames}), tmp_path / "series.parquet")
    agree(scored(scorer, tmp_path / "series.parquet"), bundle.examples)
    broken = [frames[0][:3], [[1.0, "a"]], "[[1,", [], None, 5, [[1.0], [1.0, 2.0]]]
    found = scorer({"frames": [np.array(frames[0]), json.dumps(frames[0]), *broken]})
    assert found["forecast"][0] == found["forecast"][1]
    assert [error is None for error in found["error"]] == [True, True] + [False] * len(broken)


def agree(rows: list[dict[str, Any]], examples: tuple[Example, ...]) -> None:
    for row, example in zip(rows, examples, strict=True):
        assert row["error"] is None
        np.testing.assert_allclose(row["forecast"], example.answer["forecast"], atol=1e-4)
