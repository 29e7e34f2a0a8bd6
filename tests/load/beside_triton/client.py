"""Closed-loop load of Triton's own client, `tritonclient`, over HTTP or gRPC. Runs in the environment of that client.

    python client.py '{"protocol": "http", "port": 8000, "model": "tagger", "with_lengths": false, "corpus": "FILE",
                       "connections": 64, "warm_s": 1, "seconds": 4}'

Every answer is compared with the known labels. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


class Load:
    """Callers that each send their next sentence when they have the labels of the last one."""

    def __init__(self, spec: dict[str, Any], client: Any, library: Any) -> None:
        self._client, self._library, self._spec = client, library, spec
        self._items = json.loads(Path(spec["corpus"]).read_text(encoding="utf-8"))
        self._requests = [self._inputs(np.array([item["ids"]], np.int64)) for item in self._items]
        # Binary tensors are the default of gRPC, and have to be asked for over HTTP.
        options = {"binary_data": True} if spec["protocol"] == "http" else {}
        self._outputs = [library.InferRequestedOutput("emissions", **options)]
        self._next = 0
        self.latencies_s: list[float] = []
        self.wrong = self.checked = 0
        self.errors: dict[str, int] = {}

    def _inputs(self, ids: Any) -> list[Any]:
        tensors = {"words": ids}
        if self._spec["with_lengths"]:
            tensors["lengths"] = np.array([ids.shape[1]], np.int64)
        made = []
        for name, values in tensors.items():
            made.append(self._library.InferInput(name, list(values.shape), "INT64"))
            made[-1].set_data_from_numpy(values)
        return made

    async def run(self) -> dict[str, Any]:
        self._begin_s = time.perf_counter() + self._spec["warm_s"]
        self._end_s = self._begin_s + self._spec["seconds"]
        await asyncio.gather(*(self._call() for _ in range(self._spec["connections"])))
        ordered = sorted(self.latencies_s) or [0.0]
        shares = {"p50_ms": 0.5, "p99_ms": 0.99}
        times = {name: 1000 * ordered[int(share * (len(ordered) - 1))] for name, share in shares.items()}
        rate = len(self.latencies_s) / self._spec["seconds"]
        counts = {"answered": len(self.latencies_s), "wrong": self.wrong, "checked": self.checked}
        return {"rate": rate, **times, **counts, "errors": self.errors}

    async def _call(self) -> None:
        while (started_s := time.perf_counter()) < self._end_s:
            number = self._next % len(self._items)
            self._next += 1
            try:
                found = await self._client.infer(self._spec["model"], self._requests[number], outputs=self._outputs)
            except Exception as error:
                kind = f"{type(error).__name__}: {error}"[:200]
                self.errors[kind] = self.errors.get(kind, 0) + 1
                await asyncio.sleep(0.05)
                continue
            now = time.perf_counter()
            self.checked += 1
            self.wrong += found.as_numpy("emissions")[0].argmax(-1).tolist() != self._items[number]["labels"]
            if self._begin_s <= now < self._end_s:
                self.latencies_s.append(now - started_s)


async def drive(spec: dict[str, Any]) -> dict[str, Any]:
    library = importlib.import_module(f"tritonclient.{spec['protocol']}.aio")
    options = {"conn_limit": spec["connections"]} if spec["protocol"] == "http" else {}
    client = library.InferenceServerClient(f"127.0.0.1:{spec['port']}", **options)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    try:
        found = await Load(spec, client, library).run()
    finally:
        await client.close()
    return {**found, "client_cores": (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.loads(sys.argv[1])))))
