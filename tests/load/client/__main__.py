"""The load client, in its own process so that it does not share the server's core.

    python -m tests.load.client '{"speech": "unroll", "corpus": "sentences", "port": 8000, "connections": 64,
                                  "warm_s": 1, "seconds": 5}'

`rate` instead of `connections` makes an open loop. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from tests.load.client.closed_loop import GRACE_S, ClosedLoop
from tests.load.client.open_loop import OpenLoop
from tests.load.client.service_metrics import batches_between, metrics_at
from tests.load.client.tally import Tally
from tests.load.workload.dialects import DIALECTS, TASKS, questions

SERVICE = "unroll"


async def drive(speech: str, corpus: str, port: int, warm_s: float, seconds: float, **load: float) -> dict[str, Any]:
    """Put one load on a server; `load` is `connections` or `rate`."""
    tally = Tally(questions(speech, corpus, port), DIALECTS[speech, TASKS[corpus]].read)
    loop: ClosedLoop | OpenLoop
    if "rate" in load:
        loop = OpenLoop(tally, port, load["rate"], warm_s, seconds)
    else:
        loop = ClosedLoop(tally, port, int(load["connections"]), warm_s, seconds)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    looks = [metrics_at(port, wall_s + warm_s + after_s) for after_s in (0, seconds) if speech == SERVICE]
    running = asyncio.gather(loop.run(), *looks)
    seen, *metrics = await asyncio.wait_for(running, warm_s + seconds + 2 * GRACE_S)
    client_cores = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    batches = batches_between(*metrics) if metrics else {}
    return {**tally.summary(seconds), **seen, **batches, "client_cores": client_cores}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(**json.loads(sys.argv[1])))))
