"""Bundles that a supervisor opened answer in the workers that it forks, from the same pages of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.inference.engines.bundle_entry import WatchedFolder, fingerprint_of
from service.inference.engines.lifecycle.inherited import open_before_fork
from service.inference.runtime import ort_runner
from service.inference.runtime.device import CPU_PROVIDER, CUDA_PROVIDER, OPENVINO_PROVIDER
from service.inference.runtime.ort_runner import survives_fork
from tests.allowed_skips import OTHER_SYSTEM
from tests.tiny_bundles import copy_bundle, renew_digests, write_tiny_bundle

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "models"


@pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no /proc")
def test_a_forked_worker_answers_from_the_weights_of_its_supervisor() -> None:
    """Every shipped bundle passes its self-check in a child that opened no graph, and most of its memory is shared."""
    command = [sys.executable, "-m", "tests.inference.engines.forked_worker", str(SHIPPED)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = {path.name for path in SHIPPED.iterdir() if path.is_dir()}
    assert found["states"] == dict.fromkeys(names, "ready")
    assert (found["opened"], found["left"], found["threads_at_fork"]) == ([], 0, 1)
    weights = sum(file.stat().st_size for file in SHIPPED.glob("*/*/*.onnx"))
    assert found["shared"] > weights, "they are stored in half the precision in which they are computed"
    assert found["private"] < found["shared"] / 2


def test_a_bundle_that_changed_after_it_was_opened_is_not_taken_over(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path, "classification")
    inherited = open_before_fork(WatchedFolder(tmp_path), "cpu", "auto")
    (path / "README.md").write_text("Changed.", encoding="utf-8")
    assert inherited.take(path, fingerprint_of(path)) is None


def test_a_bundle_is_handed_out_once(tmp_path: Path) -> None:
    """A model that is opened again, such as after an operator unloaded it, does not get what was retired."""
    path = write_tiny_bundle(tmp_path, "classification")
    inherited = open_before_fork(WatchedFolder(tmp_path), "cpu", "auto")
    assert inherited.take(path, fingerprint_of(path)) is not None
    assert inherited.take(path, fingerprint_of(path)) is None


def test_a_broken_bundle_is_left_to_the_workers(tmp_path: Path, tiny_models: Path) -> None:
    sound = copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path)
    broken = write_tiny_bundle(tmp_path, "classification")
    (broken / "classifier.onnx").write_bytes(b"no graph")
    renew_digests(broken)
    inherited = open_before_fork(WatchedFolder(tmp_path), "cpu", "auto")
    assert inherited.take(broken, fingerprint_of(broken)) is None
    assert inherited.take(sound, fingerprint_of(sound)) is not None


@pytest.mark.parametrize(
    ("device", "precision", "providers", "expected"),
    [
        ("auto", "auto", [CPU_PROVIDER], True),
        ("cpu", "int8", [CUDA_PROVIDER, CPU_PROVIDER], True),
        ("auto", "fp32", [CUDA_PROVIDER, CPU_PROVIDER], False),
        ("cuda:1", "fp32", [CPU_PROVIDER], False),
        ("cpu", "auto", [OPENVINO_PROVIDER, CPU_PROVIDER], False),
        ("cpu", "fp32", [OPENVINO_PROVIDER, CPU_PROVIDER], True),
        ("cpu", "bf16", [CPU_PROVIDER], False),
    ],
)
def test_sessions_are_opened_before_a_fork_only_where_they_have_no_threads_and_no_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, providers: list[str], expected: bool
) -> None:
    monkeypatch.setattr(ort_runner, "available_providers", lambda: providers)
    monkeypatch.setattr(ort_runner, "cpu_has_bf16", lambda: True)
    assert survives_fork(device, precision) == expected  # type: ignore[arg-type]
