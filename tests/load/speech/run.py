"""Live streams of speech: how many one core serves, how late the text is, and whether it is the text of the whole.

The service has one core and the clients another. Each stream sends pieces of sound as time goes by, as a microphone
does, and never waits for an answer; latency counts from the moment at which the last sample of a piece was due. For
the middle of a piece add half of its length, for its first sample all of it. The texts are compared with those of the
same sounds in one request each.

    python -m tests.load.speech.run [--models FOLDER --model NAME] [--dataset fsdd_strings] [--streams 50 100 200]

Without `--models` the network has random weights, and the size of a shipped one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.api.streaming.pieces.byte_pieces import ByteFormat
from tests.load.machine import cpu_s, memory_mb
from tests.load.speech.live_stream import Heard, LiveStream
from tests.load.speech.random_bundle import NAME, RATE_HZ, write_random_bundle
from tests.load.speech.waves import DATASETS, noise, waves_of
from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess

_WARM_UP_S = 3.0
_SETTINGS: Mapping[str, str] = {
    "UNROLL_LANES": "1",
    "UNROLL_DEVICE": "cpu",
    "UNROLL_MAX_STREAMS_PER_CLIENT": "0",
    "UNROLL_LOG_LEVEL": "warning",
}


class Measured(NamedTuple):
    """Of one number of streams: latencies in milliseconds, CPU, memory, and texts that are those of the whole."""

    num_streams: int
    results: Sequence[float]
    finals: Sequence[float]
    late_client: float
    cpu_share: float
    cpu_ms_per_stream_s: float
    kb_per_stream: float
    num_equal: int
    num_texts: int
    num_errors: int

    def line(self) -> str:
        p50, p95, p99 = self.results
        return (
            f"{self.num_streams:5} streams: result p50 {p50:6.0f} p95 {p95:6.0f} p99 {p99:6.0f} ms, "
            f"final p95 {self.finals[1]:6.0f} ms (client late by p95 {self.late_client:.0f} ms); "
            f"{100 * self.cpu_share:5.1f} % of a core, {self.cpu_ms_per_stream_s:5.2f} ms CPU a stream and second; "
            f"{self.kb_per_stream:5.1f} KB a stream; {self.num_equal} of {self.num_texts} texts equal; "
            f"{self.num_errors} errors"
        )


async def measure(
    server: ServerProcess, sounds: Sequence[bytes], wholes: Sequence[str], num: int, options: argparse.Namespace
) -> Measured:
    """Run so many streams for some seconds after a warm-up."""
    heard, loop = Heard(), asyncio.get_running_loop()
    piece_s = options.piece_ms / 1000
    piece_bytes = 2 * int(RATE_HZ * piece_s)
    streams = [LiveStream(number, sounds, heard, piece_bytes, piece_s) for number in range(num)]
    before_mb, began_s = memory_mb(server.pids()), loop.time() + 0.5
    stop_s = began_s + _WARM_UP_S + options.seconds
    tasks = [
        asyncio.create_task(stream.run(server.port, options.model, stop_s, began_s + piece_s * number / num))
        for number, stream in enumerate(streams)
    ]
    await asyncio.sleep(began_s + _WARM_UP_S - loop.time())
    for stream in streams:
        stream.is_measured = True
    used_s, from_s = cpu_s(server.pids()), loop.time()
    await asyncio.sleep(stop_s - loop.time())
    used_s, took_s = cpu_s(server.pids()) - used_s, loop.time() - from_s
    grown_kb = 1024 * (memory_mb(server.pids()) - before_mb)
    for stream in streams:
        stream.is_measured = False
    await asyncio.wait_for(asyncio.gather(*tasks), timeout=60)
    num_equal = sum(text == wholes[number] for number, text in heard.texts)
    return Measured(
        num,
        percentiles(heard.latency_s),
        percentiles(heard.final_s),
        percentiles(heard.lateness_s)[1],
        used_s / took_s,
        1000 * used_s / max(heard.sound_s, 1e-9),
        grown_kb / num,
        num_equal,
        len(heard.texts),
        len(heard.errors),
    )


def percentiles(seconds: Sequence[float]) -> list[float]:
    """The 50th, 95th and 99th, in milliseconds."""
    return [float("nan")] * 3 if not seconds else (1000 * np.percentile(seconds, [50, 95, 99])).tolist()


def whole_texts(server: ServerProcess, model: str, sounds: Sequence[bytes]) -> list[str]:
    """The text of each sound in a request of its own."""
    form, texts = ByteFormat("pcm_s16le", sample_rate_hz=RATE_HZ), []
    for sound in sounds:
        body = json.dumps({"model": model, "inputs": form.whole_input(sound)}).encode()
        texts.append(json.loads(server.post("/predict", body))["predictions"][0]["text"])
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of bundles; default: one with random weights")
    parser.add_argument("--model", default=NAME)
    parser.add_argument("--dataset", choices=DATASETS, help="default: noise")
    parser.add_argument("--sounds", type=int, default=40, help="different sounds")
    parser.add_argument("--streams", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--piece-ms", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--core", default="0", help="core of the service; the clients have another")
    options = parser.parse_args()
    sounds = (
        waves_of(options.dataset, RATE_HZ, options.sounds) if options.dataset else noise(RATE_HZ, 4.0, options.sounds)
    )
    with tempfile.TemporaryDirectory() as scratch:
        models = options.models or Path(scratch) / "models"
        if options.models is None:
            write_random_bundle(models)
        with own_server(models, Path(scratch) / "log", _SETTINGS, ["taskset", "-c", options.core]) as server:
            wholes = whole_texts(server, options.model, sounds)
            for num in options.streams:
                print(asyncio.run(measure(server, sounds, wholes, num, options)).line(), flush=True)


if __name__ == "__main__":
    main()
