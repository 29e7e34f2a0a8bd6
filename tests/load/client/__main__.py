"""The load client, in its own process so that it does not share the server's core.

    python -m tests.load.client '{"speech": "unroll", "corpus": "sentences", "port": 8000, "connections": 64,
                                  "warm_s": 1, "seconds": 5}'

`rate` instead of `connections` makes an open loop. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

from service.cli.bench.load.address import Address
from service.cli.bench.load.window import GRACE_S
from service.cli.bench.measurement import Extent, Load, measure
from tests.load.client.checked_tally import CheckedTally
from tests.load.workload.dialects import DIALECTS, TASKS, questions


async def drive(speech: str, corpus: str, port: int, warm_s: float, seconds: float, **load: float) -> dict[str, Any]:
    """Put one load on a server; `load` is `connections` or `rate`."""
    tally = CheckedTally(questions(speech, corpus, port), DIALECTS[speech, TASKS[corpus]].read)
    wanted = Load(rate=load["rate"]) if "rate" in load else Load(connections=int(load["connections"]))
    measuring = measure(tally, Address("127.0.0.1", port), wanted, Extent(warm_s, seconds))
    return (await asyncio.wait_for(measuring, warm_s + seconds + 3 * GRACE_S)).figures()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(**json.loads(sys.argv[1])))))
