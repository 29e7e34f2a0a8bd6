"""BentoML: adaptive batching in one worker. Started with `bentoml serve bentoml_server:Tagger`."""

from __future__ import annotations

import bentoml
from graphs import MAX_BATCH
from graphs import Tagger as Graph


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Tagger:
    """Each request sends a list, a batch of one; the framework concatenates these lists."""

    def __init__(self) -> None:
        self.graph = Graph()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=2000)
    def tag(self, ids: list[list[int]]) -> list[list[int]]:
        return self.graph.tag(ids)
