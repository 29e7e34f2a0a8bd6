"""One local cluster of Ray: a table scored by two processes, then the service as a deployment.

Its argument is a JSON object with `models`, a `folder` to write in, `texts` and `requests`. Prints what came of all.
"""

import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[4]
PATIENCE_S = 120


def start(plan):
    """A cluster of one node on the loopback interface, whose processes find the sources and the examples."""
    import ray

    variables = {
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "COUNTED_OPENS": plan["folder"],
        "UNROLL_MODELS_DIR": plan["models"],
        "UNROLL_DEVICE": "cpu",
        "UNROLL_STATE_KEYS": "a secret of more than sixteen characters",
    }
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": variables},
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
    )


def score(plan):
    """Rows in eight blocks, scored by two actors."""
    import counted_opens
    import pyarrow as pa
    import ray.data
    import score_with_ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    score_with_ray.Scorer = counted_opens.CountedScorer
    texts = plan["texts"]
    size = len(texts) // 8
    tables = [
        pa.table({"id": pa.array(range(at, at + size)), "text": pa.array(texts[at : at + size], pa.string())})
        for at in range(0, len(texts), size)
    ]
    model = str(Path(plan["models"]) / "tiny-classifier")
    rows = score_with_ray.score(ray.data.from_arrow(tables), model, processes=2).take_all()
    return {"rows": sorted(rows, key=lambda row: row["id"]), **counted_opens.counts()}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(url, body):
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]


def serve(plan):
    """The deployment: its answers, its metrics, and a stream that is open while it is deleted."""
    import ray
    import serve_on_ray
    from ray import serve as ray_serve

    port = free_port()
    ray_serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
    ray_serve.run(serve_on_ray.app, route_prefix="/")
    base = f"http://127.0.0.1:{port}"
    answers = [call(base + path, body) for path, body in plan["requests"]]
    metrics = wait_for_metrics(f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics")
    drained = delete_during_a_stream(base + "/generate_stream", ray_serve)
    ray_serve.shutdown()
    return {"answers": answers, "metrics": metrics, "drained": drained}


def configured():
    """The deployments that Ray reads from the configuration file, by its own schema, for the application it names."""
    import serve_on_ray
    import yaml
    from ray.serve.schema import ServeDeploySchema

    text = (ROOT / "deploy" / "ray" / "serve.yaml").read_text(encoding="utf-8")
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    deployments = [deployment.name for deployment in application.deployments]
    return {"named": deployments, "bound": serve_on_ray.app._bound_deployment.name}


def wait_for_metrics(url):
    """The lines of the service's requests among Ray's metrics."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        _, text = call(url, None)
        found = [line for line in text.splitlines() if line.startswith("ray_unroll_requests_total{")]
        if any(float(line.rpartition(" ")[2]) for line in found):
            return found
        time.sleep(0.5)
    return []


def delete_during_a_stream(url, ray_serve):
    """Events of a stream during which the application is deleted."""
    body = json.dumps({"inputs": "hello", "parameters": {"max_new_tokens": 30}}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as stream:
        lines = [stream.readline()]
        deleting = threading.Thread(target=ray_serve.delete, args=("default",))
        deleting.start()
        lines += stream.readlines()
    deleting.join(PATIENCE_S)
    events = [line for line in lines if line.startswith(b"data:")]
    return {"events": len(events), "last": json.loads(events[-1].removeprefix(b"data:"))}


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    start(given)
    print(json.dumps({"data": score(given), "serve": serve(given), "configured": configured()}))
