"""Batch invariance of generation: with random joins, cancels and failures each text equals the one alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from service.errors import InferenceFailed
from service.inference.engines.open_bundle import open_bundle
from service.inference.state.prefix_cache import PrefixCache
from service.tasks.core.task import Array, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.generation_batch import GenerationBatch
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.recorded_form import GenerationParameters
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import GenerationResult

NUM_MIXES = 1000
NUM_REQUESTS = 80


class Wish(NamedTuple):
    """One request, and its result when run alone."""

    prompt: str
    parameters: SamplingOptions
    delivery: Delivery
    alone: GenerationResult | None

    def start(self, task: Generation) -> GenerationRequest:
        return task.start(self.prompt, self.parameters, self.delivery)


class Failing:
    """A runner that fails at random."""

    def __init__(self, runner: Runner, chance: random.Random) -> None:
        self._runner = runner
        self._chance = chance

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._chance.random() < 0.01:
            raise InferenceFailed("by chance")
        return self._runner.run(graph, feeds)


def random_parameters(chance: random.Random) -> SamplingOptions:
    rules = {
        "temperature": chance.choice([0.5, 1.0, 1.5]),
        "top_k": chance.choice([1, 3, 20]),
        "top_p": chance.choice([0.3, 0.9]),
        "typical_p": 0.8,
        "repetition_penalty": 1.3,
        "frequency_penalty": chance.choice([-0.5, 0.5]),
        "do_sample": True,
        "details": True,
        "top_n_tokens": 2,
        "stop": [chance.choice("aeiou ")],
    }
    chosen = {name: value for name, value in rules.items() if chance.random() < 0.3}
    return GenerationParameters(**chosen, seed=chance.randrange(2**64), max_new_tokens=chance.randint(1, 20)).options


def random_wish(chance: random.Random, task: Generation, runner: Runner) -> Wish:
    prompt = "H" + "".join(chance.choices("Hello my old friend.\n", k=chance.choice([0, 1, 5, 9, 30])))
    delivery = chance.choice([Delivery(), Delivery(), Delivery(is_streamed=True), Delivery(num_continuations=3)])
    wish = Wish(prompt, random_parameters(chance), delivery, None)
    continuation = wish.start(task)
    for _ in task.events(runner, continuation):
        pass
    return wish._replace(alone=continuation.result())


@pytest.fixture(scope="module")
def task_and_runner(tiny_models: Path) -> tuple[Generation, Runner]:
    opened = open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)
    assert isinstance(opened.task, Generation)
    return opened.task, opened.runner


def play(batch: GenerationBatch, wishes: list[Wish], task: Generation, runner: Runner, chance: random.Random) -> int:
    """Let requests join and leave at random until all have ended; returns how many finished, each with its own text."""
    to_come, running, num_whole = list(wishes), dict[int, tuple[GenerationRequest, Wish]](), 0
    while to_come or not batch.is_idle:
        joining = [(to_come[-1].start(task), to_come.pop()) for _ in range(min(len(to_come), chance.randint(0, 2)))]
        running |= {id(continuation): (continuation, wish) for continuation, wish in joining}
        batch.join([continuation for continuation, _ in joining])
        if running and chance.random() < 0.03:
            continuation, _ = running.pop(chance.choice(list(running)))
            batch.leave([continuation])
        for outcome in batch.advance(runner):
            if outcome.finished:
                _, wish = running.pop(id(outcome.request))
                if outcome.error is None:
                    assert outcome.request.result() == wish.alone
                    num_whole += 1
    assert not running, "everyone is told of the end"
    assert batch.num_rows == 0
    return num_whole


def test_a_thousand_random_mixes_change_no_text(
    task_and_runner: tuple[Generation, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts do not change under random options, forks, joins, cancels, failures, prefix caching and chunked prefill."""
    task, runner = task_and_runner
    chance = random.Random(1)
    wishes = [random_wish(chance, task, runner) for _ in range(NUM_REQUESTS)]
    checkpoints = PrefixCache(max_bytes=10**6, block_tokens=8)
    num_whole = 0
    for _ in range(NUM_MIXES):
        batch = task.batch(
            prefill_chunk_tokens=chance.choice([3, 8, 128]), checkpoints=chance.choice([None, checkpoints])
        )
        monkeypatch.setattr("service.tasks.generation.generation_batch._MIN_LIVE_ROWS", chance.choice([1, 8]))
        mix = chance.sample(wishes, chance.randint(1, 8))
        num_whole += play(batch, mix, task, Failing(runner, chance), chance)
    assert num_whole > 2 * NUM_MIXES
