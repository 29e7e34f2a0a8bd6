"""Ray Serve: one replica with `@serve.batch`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from graphs import MAX_BATCH, PORT, WAIT_MS
from ray import serve


@serve.deployment(max_ongoing_requests=1024, num_replicas=1, ray_actor_options={"num_cpus": 0.5})
class Tagger:
    """Requests that arrive within the batch timeout are tagged together."""

    def __init__(self) -> None:
        from graphs import Tagger as Graph

        self.graph = Graph()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_MS / 1000)
    async def tag(self, rows: list[list[int]]) -> list[list[int]]:
        return self.graph.tag(rows)

    async def __call__(self, request: Any) -> dict[str, list[int]]:
        return {"labels": await self.tag((await request.json())["ids"])}


if __name__ == "__main__":
    variables = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    variables["PYTHONPATH"] = str(Path(__file__).parent)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        runtime_env={"env_vars": variables},
        _node_ip_address="127.0.0.1",
        logging_level="ERROR",
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Tagger.bind(), route_prefix="/tag", blocking=True)
