"""mosec: HTTP in Rust, Python workers behind sockets, dynamic batches."""

from __future__ import annotations

from typing import Any

from graphs import MAX_BATCH, WAIT_MS, WORKERS
from graphs import Tagger as Graph
from mosec import Server, Worker


class Tagger(Worker):
    """Maps a batch of decoded JSON bodies to a list of answers."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"labels": labels} for labels in self.graph.tag([body["ids"] for body in data])]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Tagger, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=max(1, int(WAIT_MS)))
    server.run()
