"""Targets of the benchmark: the service, its peers and the lower bounds, each with its best settings."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.load.machine import cores, on
from tests.load.places import LOGS, MODELS, PEERS, ROOT
from tests.load.targets.environments import python_of
from tests.load.targets.server_process import ServerProcess, StartFailed
from tests.load.workload.corpus import load_corpus
from tests.load.workload.dialects import DIALECTS, TASKS, request

#: Servers may also use the two ports after theirs.
_PORTS = range(18_100, 18_200, 10)
OWN_ENVIRONMENT = ""


@dataclass(frozen=True)
class Target:
    """One server: its command, and the format of its requests.

    In `command`, `{python}`, `{bin}`, `{port}` and `{scratch}` are replaced. `environment` names the file of pins in
    peers/pins/ for its virtual environment; empty is the environment that runs the benchmark.
    """

    name: str
    speech: str
    command: tuple[str, ...]
    about: str
    environment: str = OWN_ENVIRONMENT
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path = PEERS
    start_s: float = 60.0

    @property
    def is_service(self) -> bool:
        return self.speech == "unroll"


def service(name: str = "unroll", environment: str = OWN_ENVIRONMENT, **settings: str) -> Target:
    """The service with settings such as `max_batch_items="1"`, optionally from another environment."""
    about = ", ".join(["this service", *(f"{setting} = {value}" for setting, value in settings.items())])
    # Like the peers, it writes no access log.
    environ = {"UNROLL_LOG_LEVEL": "warning"}
    environ |= {f"UNROLL_{setting.upper()}": value for setting, value in settings.items()}
    command = ("{python}", "-m", "service", "serve", "--port", "{port}", "--models", str(MODELS))
    return Target(name, "unroll", command, about, environment, environ, ROOT)


def two_workers(target: Target) -> Target:
    """The same server with a second worker process."""
    environ = {**target.environ, "BENCH_WORKERS": "2"}
    return replace(target, name=f"{target.name} x 2", about=f"{target.about}; two workers", environ=environ)


MOSEC = Target(
    "mosec",
    "mosec",
    (
        *("{python}", "mosec_server.py", "--address", "127.0.0.1", "--port", "{port}"),
        *("--path", "{scratch}/mosec", "--timeout", "60000", "--capacity", "2048"),
    ),
    "HTTP in Rust, Python workers, batches of 4 within 1 ms",
    "mosec",
)
LITSERVE = Target(
    "LitServe", "litserve", ("{python}", "litserve_server.py"), "fast queue, batches of 4 within 1 ms", "litserve"
)
MLSERVER = Target(
    "MLServer",
    "inference-protocol",
    ("{python}", "mlserver_server.py", "{scratch}/mlserver"),
    "adaptive batches of 4 within 1 ms, runtime in the server's process",
    "mlserver",
)
BENTOML = Target(
    "BentoML",
    "bentoml",
    ("{bin}/bentoml", "serve", "bentoml_server:Tagger", "--host", "127.0.0.1", "--port", "{port}"),
    "adaptive batches of 4",
    "bentoml",
    {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{scratch}/bentoml"},
)
#: The helper process of Triton's Python backend must find the Python library of the same environment.
_LIBRARIES = {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or ""}
PYTRITON = Target(
    "PyTriton",
    "inference-protocol",
    ("{python}", "pytriton_server.py"),
    "Triton's HTTP front and dynamic batches of 4 within 1 ms, a Python callable behind",
    "pytriton",
    {**_LIBRARIES},
)


def triton(max_batch: int, wait_ms: float, group: int = 0) -> Target:
    """Triton's own server, which PyTriton brings, with the graph in its Python backend.

    `group` sorts each dynamic batch by length and runs so many at a time, in the model's own code.
    """
    name = f"Triton, batches of {max_batch}" + (f", sorted in groups of {group}" if group else "")
    environ = {
        **_LIBRARIES,
        "BENCH_MAX_BATCH": str(max_batch),
        "BENCH_WAIT_MS": str(wait_ms),
        "BENCH_GROUP": str(group),
    }
    about = f"Triton's server and Python backend, ragged dynamic batches of {max_batch} within {wait_ms:g} ms"
    about += f", sorted by length and run in groups of {group} by the model's code" if group else ""
    command = ("{python}", "triton_server.py", "{scratch}/triton-{port}")
    return Target(name, "graph-tensors", command, about, "pytriton", environ)


RAY = Target(
    "Ray Serve",
    "ids",
    ("{python}", "ray_server.py"),
    "@serve.batch, batches of 8 within 1 ms",
    "ray",
    {"BENCH_MAX_BATCH": "8", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    start_s=120.0,
)
NAIVE = Target("naive FastAPI", "ids", ("{python}", "naive.py"), "a `def` endpoint, one run for each request")
STATIC = Target("static batching", "ids", ("{python}", "static_batches.py"), "batches of 32 that run to their longest")
FLOOR = Target("HTTP floor", "floor", ("{python}", "floor.py"), "FastAPI and uvicorn with a constant answer")

PEERS_OF_TAGGER = (MOSEC, LITSERVE, MLSERVER, BENTOML, PYTRITON, RAY, NAIVE)


def start(target: Target, corpus: str, setting: str) -> ServerProcess:
    """Start the target and wait until it answers. Raises StartFailed, or FileNotFoundError if it is not installed."""
    python = python_of(target.environment) if target.environment else Path(sys.executable)
    scratch = LOGS / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    places = {"python": str(python), "bin": str(python.parent), "port": str(port), "scratch": str(scratch)}
    command = on(cores(setting).server, [part.format(**places) for part in target.command])
    log = LOGS / f"{target.name.replace(' ', '-')}.log"
    process = ServerProcess(command, _environ(target, corpus, python, places), target.folder, port, log)
    dialect = DIALECTS[target.speech, TASKS[corpus]]
    content = request(dialect.path, dialect.body(load_corpus(corpus)[0]), port).split(b"\r\n\r\n", 1)[1]
    try:
        process.wait_until_it_answers(dialect.path, content, target.start_s)
    except BaseException:
        process.stop()
        raise
    return process


def _free_port() -> int:
    """Return a port without a listener: another server there would answer instead of this one."""
    for port in _PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise StartFailed(f"all ports from {_PORTS.start} to {_PORTS.stop} are taken")


def _environ(target: Target, corpus: str, python: Path, places: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables without settings of the service, and those of the target."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "BENCH_"))}
    own = {
        "PATH": f"{python.parent}:{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    if not target.is_service:
        own |= {"BENCH_MODELS": str(MODELS), "BENCH_PORT": places["port"], "BENCH_TASK": TASKS[corpus]}
        own |= {"PYTHONPATH": str(PEERS)}
    return kept | own | {name: value.format(**places) for name, value in target.environ.items()}
