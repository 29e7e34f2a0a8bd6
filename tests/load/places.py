"""Paths of the benchmark's files. `BENCH_CACHE` replaces the repository's own cache folder."""

from __future__ import annotations

import os
from pathlib import Path

LOAD = Path(__file__).resolve().parent
ROOT = LOAD.parents[1]
PEERS = LOAD / "peers"
PINS = PEERS / "pins"
REPORT = LOAD / "RESULTS.md"

CACHE = Path(os.environ.get("BENCH_CACHE", ROOT / ".cache" / "bench")).resolve()
MODELS = CACHE / "models"
CORPORA = CACHE / "corpora"
ENVIRONMENTS = CACHE / "environments"
LEDGERS = CACHE / "results"
LOGS = CACHE / "logs"

TAGGER = "bench-tagger"
GENERATOR = "bench-generator"
TRANSLATOR = "bench-translator"


def bundle(name: str) -> Path:
    """Return the folder of one of the benchmark's bundles."""
    return MODELS / name / "1"
