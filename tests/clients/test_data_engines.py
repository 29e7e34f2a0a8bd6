"""Ray and Spark as they are installed: `Scorer` in their processes, and the service as a deployment of Ray Serve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.offline import Scorer
from tests.allowed_skips import NO_RAY, NO_SPARK
from tests.clients.conftest import PROGRAMS, ROOT
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer

#: Eight blocks of six rows; some have no answer.
TEXTS = [*["hello world", "one", "the cat sat on a mat", None, " ", "one two one"] * 8]


def _generate(**parameters: Any) -> str:
    return json.dumps({"inputs": "hello", "parameters": {"max_new_tokens": 12, **parameters}})


#: Paths and bodies; None: a GET request. The last ones are refused, each by another part of the service.
REQUESTS: list[tuple[str, str | None]] = [
    ("/predict", json.dumps({"model": "tiny-classifier", "inputs": ["hello world", "one"]})),
    ("/predict", json.dumps({"model": "tiny-tagger", "inputs": "Ada lives in London 😀", "parameters": {}})),
    ("/predict", json.dumps({"model": "tiny-translator", "inputs": "hello world"})),
    ("/generate", _generate(details=True)),
    ("/generate", _generate(do_sample=True, seed=7)),
    ("/generate_stream", _generate()),
    ("/generate_stream", _generate(do_sample=True, seed=7)),
    ("/health/ready", None),
    ("/models", None),
    ("/v2/models/tiny-classifier", None),
    ("/nowhere", None),
    ("/predict", '{"model": "tiny-classifier", "inputs": '),
    ("/predict", json.dumps({"model": "tiny-clasifier", "inputs": "one"})),
    ("/predict", json.dumps({"model": "tiny-classifier", "inputs": []})),
    ("/predict", json.dumps({"model": "tiny-classifier", "inputs": "hello " * 50_000})),
    ("/generate_stream", _generate(temperature="hot")),
    ("/v1/completions", json.dumps({"model": "nothing", "prompt": "hello"})),
]


def run_program(environment: str, program: str, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """What a program prints that is run in `.venv-ENVIRONMENT`, which lies over the test environment."""
    python = ROOT / f".venv-{environment}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: run `make {environment}-env`"
    (folder / "plan.json").write_text(json.dumps({**plan, "folder": str(folder)}), encoding="utf-8")
    places = [ROOT, PROGRAMS, ROOT / "deploy" / "ray", ROOT / "deploy" / "spark"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "VIRTUAL_ENV"))}
    settings |= {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "COUNTED_OPENS": str(folder),
        "PYSPARK_PYTHON": str(python),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Neither reports to others nor keys in the home folder; a machine under load starts slowly.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
    }
    settings.pop("PYTHONDONTWRITEBYTECODE", None)  # each of Ray's processes would compile its modules anew
    command = [str(python), str(PROGRAMS / f"{program}.py"), str(folder / "plan.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10 * PATIENCE_S, env=settings)
    assert done.returncode == 0, f"{program} failed:\n{done.stdout[-5000:]}\n{done.stderr[-20000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def on_ray(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one local cluster scored and served: all tests of Ray share it."""
    if not (ROOT / ".venv-ray").exists():
        pytest.skip(NO_RAY)
    plan = {"models": str(tiny_models), "texts": TEXTS, "requests": REQUESTS}
    return run_program("ray", "ray/ray_cluster", tmp_path_factory.mktemp("ray"), plan)


def assert_scored(found: dict[str, Any], tiny_models: Path) -> None:
    """Labels, scores and errors are those of a scorer of this process, and each process opened the bundle once."""
    wanted = Scorer(tiny_models / "tiny-classifier")({"text": TEXTS})
    assert [row["text"] for row in found["rows"]] == TEXTS
    assert [row["label"] for row in found["rows"]] == wanted["label"].tolist()
    assert [row["error"] for row in found["rows"]] == wanted["error"].tolist()
    assert [row["score"] is None for row in found["rows"]] == [label is None for label in wanted["label"]]
    scores = [row["score"] for row in found["rows"] if row["score"] is not None]
    assert scores == pytest.approx([score for score in wanted["score"] if score == score], abs=1e-6)
    assert found["opened"] == [1] * len(found["opened"])
    assert found["all"] == sum(found["opened"])


@pytest.mark.slow
def test_ray_data_scores_as_the_service_in_two_processes(on_ray: dict[str, Any], tiny_models: Path) -> None:
    """Each actor opens the bundle once, the driver never; rows without an answer have their reason and end nothing."""
    assert_scored(on_ray["data"], tiny_models)
    assert len(on_ray["data"]["opened"]) == 2
    assert sum(row["error"] is not None for row in on_ray["data"]["rows"]) == 16


def _comparable(text: str) -> Any:
    """An answer without what differs between two answers to one request."""
    if text.startswith("data:"):
        return text
    found = json.loads(text)
    return {name: value for name, value in found.items() if name not in ("timings", "request_id", "created", "id")}


@pytest.mark.slow
def test_ray_serve_answers_as_the_service_does(on_ray: dict[str, Any], service: LiveServer) -> None:
    """Predictions, texts, streams and refusals are the same, whoever carries the requests."""
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=PATIENCE_S) as client:
        for (path, body), (status, text) in zip(REQUESTS, on_ray["serve"]["answers"], strict=True):
            alone = client.get(path) if body is None else client.post(path, content=body, headers=_JSON)
            assert (status, _comparable(text)) == (alone.status_code, _comparable(alone.text)), path


_JSON = {"Content-Type": "application/json"}


@pytest.mark.slow
def test_ray_reads_the_configuration_file(on_ray: dict[str, Any]) -> None:
    """Ray's schema, which knows every field, accepts it, and its deployment is that of the module."""
    assert on_ray["configured"]["named"] == [on_ray["configured"]["bound"]]


@pytest.mark.slow
def test_ray_exports_the_metrics_of_a_replica(on_ray: dict[str, Any]) -> None:
    """The requests of the service are counted among Ray's metrics, with the replica as a label."""
    lines = on_ray["serve"]["metrics"]
    assert any('replica="' in line and 'outcome="ok"' in line for line in lines), lines


@pytest.mark.slow
def test_a_stream_ends_whole_though_its_deployment_is_deleted(on_ray: dict[str, Any]) -> None:
    """Ray lets requests in flight finish, the service drains, and no event is lost."""
    drained = on_ray["serve"]["drained"]
    assert drained["events"] == drained["last"]["index"] == 30
    assert drained["last"]["generated_text"]


@pytest.mark.slow
def test_spark_scores_as_the_service(tiny_models: Path, tmp_path: Path) -> None:
    """A table of eight partitions is scored by Spark's Python workers, each of which opens the bundle once."""
    if not (ROOT / ".venv-spark").exists() or shutil.which("java") is None:
        pytest.skip(NO_SPARK)
    found = run_program("spark", "spark/spark_session", tmp_path, {"models": str(tiny_models), "texts": TEXTS})
    assert_scored(found, tiny_models)
    assert found["labels"] == [row["label"] for row in found["rows"]]
