"""A running service loads new bundles on SIGHUP, and on its own if polling is enabled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.allowed_skips import OTHER_SYSTEM
from tests.conftest import PATIENCE_S, wait_until
from tests.ports import free_port
from tests.tiny_bundles import copy_bundle

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason=f"{OTHER_SYSTEM}: it has no SIGHUP")


@contextmanager
def service_process(models: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a service in its own process, wait until it is ready, and return its port."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--models", str(models)]
    settings = {"UNROLL_DEVICE": "cpu", "UNROLL_LANES": "1", **variables}
    process = subprocess.Popen(command, env={**os.environ, **settings}, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: "ready" in ask(port, "/health/ready"))
        yield process, port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def ask(port: int, path: str) -> str:
    """Return the body of a successful answer, or "" otherwise."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def models_of(port: int) -> set[str]:
    return {model["name"] for model in json.loads(ask(port, "/models"))["models"]}


def test_a_hangup_signal_reloads_the_models(tmp_path: Path, tiny_models: Path) -> None:
    copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path)
    with service_process(tmp_path) as (process, port):
        assert models_of(port) == {"tiny-tagger"}
        copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: models_of(port) == {"tiny-tagger", "tiny-classifier"})
        assert process.poll() is None


def test_with_an_interval_the_folder_is_looked_into_without_being_asked(tmp_path: Path, tiny_models: Path) -> None:
    copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path)
    with service_process(tmp_path, UNROLL_RELOAD_EVERY_S="0.1") as (process, port):
        copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
        wait_until(lambda: models_of(port) == {"tiny-tagger", "tiny-classifier"})
        assert process.poll() is None
