"""The limit: bare onnxruntime on one core, without a server. It has its own process so that it can be pinned.

    python -m tests.load.targets.limits '{"kind": "tagger", "grouping": "sorted-16", "seconds": 2}'

Prints one line of JSON. Answers are checked as over HTTP.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from service.cli.bench.load.tally import percentile
from tests.load.peers.graphs import LanguageModel, Tagger, Translator, padded
from tests.load.places import MODELS
from tests.load.workload.corpus import FEW_NEW_TOKENS, NUM_STEPS, Item, load_corpus


def tagger(grouping: str, seconds: float, file: str = "tagger.onnx", bf16: bool = False) -> dict[str, Any]:
    """Runs over groups padded in advance: `single`, `arrival-4` in order of arrival, `sorted-16` by length."""
    model = Tagger(file, bf16)
    items = load_corpus("sentences")
    groups = group_items(items, grouping)
    wrong = sum(model.tag([i["ids"] for i in group]) != [i["labels"] for i in group] for group in groups[:50])
    feeds = [dict(zip(("words", "lengths"), padded([item["ids"] for item in group]), strict=True)) for group in groups]
    order = list(range(len(feeds)))
    random.Random(0).shuffle(order)
    times_s: list[float] = []
    answered, start_s, number = 0, time.perf_counter(), 0
    # At least one complete round: a partial one would favour long or short sentences.
    while time.perf_counter() - start_s < seconds or number % len(order):
        chosen = order[number % len(order)]
        before_s = time.perf_counter()
        model.graph.run(["emissions"], feeds[chosen])
        times_s.append(time.perf_counter() - before_s)
        answered += len(groups[chosen])
        number += 1
    p50_s = percentile(times_s, 0.5)
    assert p50_s is not None
    return {"rate": answered / (time.perf_counter() - start_s), "p50_ms": p50_s * 1000, "wrong": wrong}


def group_items(items: Sequence[Item], grouping: str) -> list[list[Item]]:
    """Return all items in groups of the size in the name, sorted by length or in order of arrival."""
    kind, _, size = grouping.partition("-")
    size_of_group = int(size or 1)
    ordered = sorted(items, key=lambda item: int(item["tokens"])) if kind == "sorted" else list(items)
    return [ordered[first : first + size_of_group] for first in range(0, len(ordered), size_of_group)]


def generation(rows: int, seconds: float, file: str = "step.onnx", bf16: bool = False) -> dict[str, Any]:
    """Repeatedly read prompts as one batch, then step all rows at once."""
    model, items = LanguageModel(file, bf16), load_corpus("prompts")[:rows]

    def produce() -> list[list[int]]:
        token, state = model.read([item["ids"] for item in items])
        steps = [token]
        for _ in range(FEW_NEW_TOKENS - 1):
            token, state = model.step(token, state)
            steps.append(token)
        return [list(map(int, row)) for row in zip(*steps, strict=True)]

    return _tokens_per_s(produce, items, FEW_NEW_TOKENS, seconds)


def translation(rows: int, seconds: float) -> dict[str, Any]:
    """Repeatedly read sources as one batch, then step all rows at once."""
    model, items = Translator(), load_corpus("sources")[:rows]

    def produce() -> list[list[int]]:
        target = model.translate([item["ids"] for item in items], NUM_STEPS)
        return [list(map(int, row)) for row in target]

    return _tokens_per_s(produce, items, NUM_STEPS, seconds)


def _tokens_per_s(
    produce: Callable[[], list[list[int]]], items: Sequence[Item], num_tokens: int, seconds: float
) -> dict[str, Any]:
    wrong = sum(found != item["answer_ids"] for found, item in zip(produce(), items, strict=True))
    produced, start_s = 0, time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        produce()
        produced += len(items) * num_tokens
    return {"tokens_per_s": produced / (time.perf_counter() - start_s), "wrong": wrong}


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "tagger": tagger,
    "generation": generation,
    "translation": translation,
}

if __name__ == "__main__":
    os.environ["BENCH_MODELS"] = str(MODELS)
    wanted = json.loads(sys.argv[1])
    print(json.dumps(KINDS[wanted.pop("kind")](**wanted)))
