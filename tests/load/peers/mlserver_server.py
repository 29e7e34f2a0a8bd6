"""Starts MLServer: writes its two settings files to the given folder, and executes `mlserver start` there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from graphs import MAX_BATCH, PORT, WAIT_MS

SETTINGS = {
    "host": "127.0.0.1",
    "http_port": PORT,
    "grpc_port": PORT + 1,
    "metrics_port": PORT + 2,
    "parallel_workers": 0,
    "debug": False,
}
MODEL = {
    "name": "tagger",
    "implementation": "mlserver_runtime.TaggerRuntime",
    "max_batch_size": MAX_BATCH,
    "max_batch_time": WAIT_MS / 1000,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(MODEL), encoding="utf-8")
    command = Path(sys.executable).with_name("mlserver")
    os.execv(command, [str(command), "start", str(folder)])
