"""Cost curves of the service: length of the input, length of the text, size of the vocabulary, number of bundles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.load.curves.bundles import copy_often, write_generator, write_tagger
from tests.load.curves.point import Asked, Point
from tests.load.places import LOGS
from tests.load.targets.own_server import own_server

LENGTHS = (10, 100, 1_000, 10_000, 30_000, 100_000)
VOCABULARIES = (1_000, 10_000, 100_000, 1_000_000)
BUNDLES = (1, 10, 50, 100, 250, 500)
_SETTINGS = {
    "UNROLL_MAX_TOKENS_PER_REQUEST": "400000",
    "UNROLL_MAX_BATCH_PADDED_TOKENS": "400000",
    "UNROLL_MAX_BODY_BYTES": str(32 * 1024 * 1024),
    "UNROLL_DEFAULT_TIMEOUT_MS": "600000",
    "UNROLL_PREFIX_CACHE_BYTES": "0",
    "UNROLL_LANES": "1",
}
#: Tokens that the requests of one point have together: a clock tick is 10 ms, and a mean needs many of them.
_TOKENS = 20_000
_WAIT_S = 10.0


def lengths(sizes: tuple[int, ...] = LENGTHS) -> Iterator[Point]:
    """CPU time and memory against the length of an input, of a prompt, and of a text that is written."""
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        models = Path(folder)
        write_tagger(models)
        write_generator(models)
        for what, path, body in (
            ("tag an input", "/predict", _tag),
            ("read a prompt", "/generate", _read),
            ("write a text", "/generate", _write),
        ):
            with own_server(models, LOGS / "curves.log", _SETTINGS) as server, Asked(server) as asked:
                asked.send(path, body(3))
                for size in sizes:
                    seconds = asked.cost_of(path, body(size), max(1, _TOKENS // size))
                    yield Point(what, size, seconds, asked.memory_mb)


def vocabularies(sizes: tuple[int, ...] = VOCABULARIES) -> Iterator[Point]:
    """Start, memory and requests against the number of words that a model knows."""
    for size in sizes:
        for write, what, path, body in (
            (write_tagger, "tag 20 words", "/predict", _tag(20)),
            (write_generator, "write 20 words", "/generate", _write(20)),
        ):
            yield from _of_vocabulary(write, size, what, path, body)


def _of_vocabulary(
    write: Callable[[Path, int], None], size: int, what: str, path: str, body: object
) -> Iterator[Point]:
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        write(Path(folder), size)
        with own_server(Path(folder), LOGS / "curves.log", _SETTINGS) as server, Asked(server) as asked:
            yield Point(f"start, {what}", size, asked.cpu_s, asked.memory_mb)
            asked.send(path, body)
            yield Point(what, size, asked.cost_of(path, body, 100 if size < 100_000 else 20))


def bundles(sizes: tuple[int, ...] = BUNDLES) -> Iterator[Point]:
    """Start, memory, requests, scrapes and checks for changes against the number of bundles that are loaded."""
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        write_tagger(Path(folder) / "one", 300, 16)
        for size in sizes:
            models = Path(folder) / str(size)
            copy_often(Path(folder) / "one" / "tagger" / "1", models, size)
            yield from _of_bundles(models, size)


def _of_bundles(models: Path, size: int) -> Iterator[Point]:
    with own_server(models, LOGS / "curves.log", _SETTINGS) as server, Asked(server) as asked:
        yield Point("start", size, asked.cpu_s, asked.memory_mb)
        for number in range(size):
            asked.send("/predict", {"model": f"m{number}", "inputs": "w1 w2 w3"})
        yield Point("predict", size, asked.cost_of("/predict", {"model": "m0", "inputs": "w1 w2 w3"}, 500))
        yield Point("GET /metrics", size, asked.cost_of("/metrics", times=5), asked.memory_mb)
        yield Point("GET /models", size, asked.cost_of("/models", times=5))
        yield Point("a second without requests", size, asked.cost_of_waiting(_WAIT_S))
    watching = _SETTINGS | {"UNROLL_RELOAD_EVERY_S": "1"}
    with own_server(models, LOGS / "curves.log", watching) as server, Asked(server) as asked:
        yield Point("a check for changes", size, asked.cost_of_waiting(_WAIT_S))


def _tag(length: int) -> object:
    return {"model": "tagger", "inputs": [[f"w{number % 997}" for number in range(length)]]}


def _read(length: int) -> object:
    text = " ".join(f"w{number % 997}" for number in range(length))
    return {"model": "generator", "inputs": text, "parameters": {"max_new_tokens": 1}}


def _write(length: int) -> object:
    parameters = {"max_new_tokens": length, "logit_bias": {"3": -100}}
    return {"model": "generator", "inputs": "w1", "parameters": parameters}
