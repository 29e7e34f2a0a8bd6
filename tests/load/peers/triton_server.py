"""Starts Triton's own server, which PyTriton brings, on a model repository that is written to the given folder.

Its dynamic batcher takes requests of different lengths into one batch only where the input allows ragged batches.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytriton
from graphs import MAX_BATCH, PORT, WAIT_MS

CONFIG = f"""
name: "tagger"
backend: "python"
max_batch_size: {MAX_BATCH}
input [ {{ name: "words" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }} ]
output [ {{ name: "emissions" data_type: TYPE_FP32 dims: [ -1, -1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{ max_queue_delay_microseconds: {int(WAIT_MS * 1000)} }}
"""

if __name__ == "__main__":
    folder, installed = Path(sys.argv[1]).absolute(), Path(pytriton.__file__).parent / "tritonserver"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models/tagger/1").mkdir(parents=True)
    (folder / "models/tagger/config.pbtxt").write_text(CONFIG, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("triton_model.py"), folder / "models/tagger/1/model.py")
    # The backend starts the helper process beside it, which is built for one Python; both find their libraries from
    # where they were installed.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backend = folder / "backends/python"
    backend.mkdir(parents=True)
    for file in [*(installed / "backends/python").iterdir(), *(installed / "python_backend_stubs" / version).iterdir()]:
        (backend / file.name).symlink_to(file)
    command = [str(installed / "bin/tritonserver"), f"--model-repository={folder}/models"]
    command += [f"--backend-directory={folder}/backends", "--allow-metrics=false", "--http-thread-count=4"]
    for protocol, port in (("http", PORT), ("grpc", PORT + 1)):
        command += [f"--{protocol}-address=127.0.0.1", f"--{protocol}-port={port}"]
    site_packages = str(Path(pytriton.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), site_packages])
    os.execv(command[0], command)
