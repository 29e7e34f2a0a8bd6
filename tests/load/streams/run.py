"""Generation streamed beside the same unstreamed: tokens a second, and CPU time for each token.

The service has one core and the client another. 32 callers ask for texts of 60 to 140 tokens, one after the other; all
kinds are measured in turn, round by round, and each begins to count when its callers are in the midst of their texts.

    python -m tests.load.streams.run --models FOLDER [--model shakespeare] [--rounds 5] [--seconds 8]
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess

CALLERS = 32
LENGTHS = [60 + number * 37 % 81 for number in range(64)]
_WARM_UP_S = 2.0
_READ_BYTES = 1 << 18
_TICKS = os.sysconf("SC_CLK_TCK")
#: Kinds, and with what each is compared.
KINDS: Mapping[str, str] = {
    "/generate": "",
    "/generate_stream": "/generate",
    "/v1/completions": "",
    "/v1/completions streamed": "/v1/completions",
    "generate_stream of Triton": "/generate",
}


class Measured(NamedTuple):
    """Tokens and writes a second, and microseconds of CPU for each token: user and system of the whole process."""

    tokens_per_s: float
    reads_per_s: float
    user_us: float
    system_us: float

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


class Caller:
    """One connection, which asks for the next text as soon as it has one."""

    def __init__(self, port: int, kind: str, model: str, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._kind, self._model, self._number = kind, model, number
        self._read = b""
        self.ask()

    def ask(self) -> None:
        self._number += 7
        self.socket.sendall(request_of(self._kind, self._model, self._number % len(LENGTHS)))

    def take(self) -> int:
        """Read what there is. Returns the number of tokens: as they come in a stream, else all at the end."""
        data = self.socket.recv(_READ_BYTES)
        assert data, "the service closed the connection"
        if KINDS[self._kind]:
            is_end = (self._read[-8:] + data).endswith(b"\r\n0\r\n\r\n")
            self._read = data[-8:]
            num_tokens = data.count(b"data:")
        else:
            self._read += data
            head, _, body = self._read.partition(b"\r\n\r\n")
            is_end = len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0])
            num_tokens = LENGTHS[self._number % len(LENGTHS)] if is_end else 0
        if is_end:
            self._read = b""
            self.ask()
        return num_tokens


def request_of(kind: str, model: str, number: int) -> bytes:
    """A request for one text; the same number gives the same text."""
    length, seed = LENGTHS[number], number
    parameters = {"max_new_tokens": length, "do_sample": True, "seed": seed}
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "/generate": ("/generate", {"model": model, "inputs": "ROMEO:", "parameters": parameters}),
        "/generate_stream": ("/generate_stream", {"model": model, "inputs": "ROMEO:", "parameters": parameters}),
        "/v1/completions": (
            "/v1/completions",
            {"model": model, "prompt": "ROMEO:", "max_tokens": length, "seed": seed},
        ),
        "generate_stream of Triton": (
            f"/v2/models/{model}/generate_stream",
            {"text_input": "ROMEO:", "parameters": {"max_tokens": length, "seed": seed}},
        ),
    }
    path, body = bodies[kind.removesuffix(" streamed")]
    raw = json.dumps({**body, "stream": True} if kind.endswith("streamed") else body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def measure(server: ServerProcess, kind: str, model: str, seconds: float) -> Measured:
    """Ask for texts for that long, after a time to warm up."""
    callers = [Caller(server.port, kind, model, number) for number in range(CALLERS)]
    by_number = {caller.socket.fileno(): caller for caller in callers}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    num_tokens = num_reads = 0
    before: tuple[float, float] | None = None
    began_s = time.monotonic()
    while (now_s := time.monotonic()) < began_s + _WARM_UP_S + seconds:
        if before is None and now_s >= began_s + _WARM_UP_S:
            before, num_tokens, num_reads = used_s(server.pids()), 0, 0
        for number, _ in poll.poll(0.2):
            num_tokens += by_number[number].take()
            num_reads += 1
    after = used_s(server.pids())
    poll.close()
    for caller in callers:
        caller.socket.close()
    assert before is not None, "there was time after the warm-up"
    user_s, system_s = (end - begin for begin, end in zip(before, after, strict=True))
    per_token = 1e6 / max(1, num_tokens)
    return Measured(num_tokens / seconds, num_reads / seconds, user_s * per_token, system_s * per_token)


def used_s(pids: list[int]) -> tuple[float, float]:
    """Seconds of CPU of these processes: user and system."""
    fields = [Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) for one in fields) / _TICKS, sum(int(one[12]) for one in fields) / _TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--model", default="shakespeare")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    found: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    settings = {"UNROLL_LANES": "1", "UNROLL_DEVICE": "cpu", "UNROLL_LOG_LEVEL": "info"}
    with (
        tempfile.TemporaryDirectory() as scratch,
        own_server(arguments.models, Path(scratch) / "log", settings, ["taskset", "-c", "0"]) as server,
    ):
        for _ in range(arguments.rounds):
            for kind, measured in found.items():
                measured.append(measure(server, kind, arguments.model, arguments.seconds))
    for kind, measured in found.items():
        tokens, reads, user, system = (statistics.median(values) for values in zip(*measured, strict=True))
        line = f"{kind:26} {tokens:8,.0f} tokens/s {reads:8,.0f} reads/s, CPU of a token {user:6.1f} + {system:5.1f} us"
        if whole := KINDS[kind]:
            pairs = list(zip(measured, found[whole], strict=True))
            rates = [one.tokens_per_s / other.tokens_per_s for one, other in pairs]
            costs = [other.cpu_us / one.cpu_us for one, other in pairs]
            line += (
                f"; of {whole}: {statistics.median(rates):.3f} of the tokens/s, {statistics.median(costs):.3f} by CPU"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
