"""What refusing a request costs the event loop: CPU time of its thread for each refusal, with reading and without.

The service runs in this process, with a client in another. Refused are, over kept connections:

- queue: requests for a model whose queue is full;
- key: requests with an API key that has used up its limit a minute;
- open: requests beyond the limit of open ones.

"reading" is the same request, read and answered with a constant: what the connection and the parser cost. A refusal
itself is the rest. Start it with `python -m tests.load.refusals.run --models FOLDER`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from service.inference.runtime.ort_runner import OrtRunner
from service.observability.json_logs import configure_logging
from service.server.app import create_app
from service.server.fast_path import FastPathCycle, fast_path_protocol
from service.settings import Settings

NUM_REQUESTS = 4000
ROUNDS = 5
_SECRET = "unroll_measured_key_0123456789abcdefghijklmnopqrstuv"
_BODIES: dict[str, dict[str, Any]] = {
    "/predict": {"model": "intent-en", "inputs": "wake me up at seven tomorrow and play some jazz"},
    "/generate": {"model": "shakespeare", "inputs": "ROMEO:", "parameters": {"max_new_tokens": 20}},
    "/v1/completions": {"model": "shakespeare", "prompt": "ROMEO:", "max_tokens": 20},
}

_CLIENT = """
import socket, sys
port, request, number = int(sys.argv[1]), sys.stdin.buffer.read(), int(sys.argv[2])
link = socket.create_connection(("127.0.0.1", port))
statuses = {}
for _ in range(number):
    link.sendall(request)
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        answer += link.recv(65536)
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += link.recv(65536)
    statuses[head[9:12]] = statuses.get(head[9:12], 0) + 1
print(statuses)
"""


def request_of(path: str, secret: str = "") -> bytes:
    """A request as programs send it."""
    body = json.dumps(_BODIES[path]).encode()
    key = f"Authorization: Bearer {secret}\r\n" if secret else ""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n{key}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def cost_us(port: int, request: bytes, number: int) -> tuple[float, str]:
    """Microseconds of this thread for each request, and what the client saw."""
    began_s = time.thread_time()
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CLIENT, str(port), str(number), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    started_s = time.thread_time()
    seen, _ = await client.communicate(request)
    ended_s = time.thread_time()
    assert started_s >= began_s, "the start of the client is not counted"
    return (ended_s - started_s) / number * 1e6, seen.decode().strip()


@contextlib.contextmanager
def answered_with_a_constant() -> Iterator[None]:
    """Every request on the fast path is read, and gets the same bytes."""
    begin = FastPathCycle._begin

    def constant(cycle: FastPathCycle) -> None:
        cycle._protocol.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        cycle._complete()

    FastPathCycle._begin = constant  # type: ignore[method-assign]
    try:
        yield
    finally:
        FastPathCycle._begin = begin  # type: ignore[method-assign]


@contextlib.contextmanager
def held_runs() -> Iterator[None]:
    """No run of a graph ends meanwhile, so that queues stay full."""
    may_run, run = threading.Event(), OrtRunner.run

    def held(self: OrtRunner, *arguments: Any) -> Any:
        may_run.wait()
        return run(self, *arguments)

    OrtRunner.run = held  # type: ignore[method-assign]
    try:
        yield
    finally:
        OrtRunner.run = run  # type: ignore[method-assign]
        may_run.set()


async def fill(port: int, request: bytes, number: int) -> list[asyncio.StreamWriter]:
    """Requests that stay open."""
    writers = []
    for _ in range(number):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writers.append(writer)
    await asyncio.sleep(0.5)
    return writers


async def compare(port: int, name: str, request: bytes) -> None:
    """Print the cost of this refusal beside that of reading the same request."""
    whole, reading, seen = [], [], ""
    for _ in range(ROUNDS):
        us, seen = await cost_us(port, request, NUM_REQUESTS)
        whole.append(us)
        with answered_with_a_constant():
            reading.append((await cost_us(port, request, NUM_REQUESTS))[0])
    print(
        f"{name:28} {min(whole):7.1f} us of the event loop, reading {min(reading):6.1f}, "
        f"the refusal itself {min(whole) - min(reading):6.1f}   {seen}",
        flush=True,
    )


async def serve(models: Path, measure: Callable[[int], Any], **settings: Any) -> None:
    """Run the service in this loop while `measure` runs."""
    app = create_app(Settings(models_dir=models, lanes=1, device="cpu", **settings))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=fast_path_protocol(app), lifespan="on", log_config=None))
    serving = asyncio.create_task(server.serve([listening]))
    while app.state.registry.reasons():  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.1)
    try:
        await measure(listening.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait([serving], timeout=30)


async def refused_by_queues(port: int) -> None:
    with held_runs():
        for path in _BODIES:
            writers = await fill(port, request_of(path), 12)
            await compare(port, f"queue full, {path}", request_of(path))
            for writer in writers:
                writer.close()


async def refused_by_key(port: int) -> None:
    for path in ("/predict", "/generate"):
        await compare(port, f"limit of a key, {path}", request_of(path, _SECRET))


async def refused_by_number(port: int) -> None:
    with held_runs():
        writers = await fill(port, request_of("/predict"), 2)
        for path in _BODIES:
            await compare(port, f"too many open, {path}", request_of(path))
        for writer in writers:
            writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--logs", action="store_true", help="show the log lines of the service")
    arguments = parser.parse_args()
    models = arguments.models
    for name in [name for name in os.environ if name.startswith("UNROLL_")]:
        del os.environ[name]
    if not arguments.logs:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    configure_logging("info")
    loop = uvicorn.Config("x").get_loop_factory()
    assert loop is not None
    key = {
        "name": "measured", "sha256": hashlib.sha256(_SECRET.encode()).hexdigest(), "scopes": ["predict", "generate"],
        "limits": {"requests_per_minute": 1},
    }  # fmt: skip
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(
            serve(models, refused_by_queues, max_queue_items=2, max_inputs_per_request=2, default_timeout_ms=600_000)
        )
        runner.run(serve(models, refused_by_number, max_open_requests=2, default_timeout_ms=600_000))
        runner.run(serve(models, refused_by_key, api_keys=json.dumps({"keys": [key]})))
    os._exit(0)


if __name__ == "__main__":
    main()
