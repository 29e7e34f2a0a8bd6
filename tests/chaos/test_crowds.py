"""Batch invariance under 100,000 joins, completions, cancels, deadline misses and failures.

State leaked from one request to the next user of its slot or row would change an answer, so equality with the answer
alone proves isolation: states are hashes of all input, or those of real recurrent networks. Numbers are equal bit for
bit, except for graphs that run one row for one step, whose kernels may round the last bit differently. Labels, tokens
and texts are always equal.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service.errors import InferenceFailed
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.queued_request import Output
from service.inference.scheduling.continuous_batcher import ContinuousBatcher, StepLimits
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.step_queue import StepQueue
from service.observability.metrics import Metrics
from service.tasks.catalogue import predicts
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.recorded_form import GenerationParameters
from tests.chaos.crowd import (
    MODEL,
    Asked,
    Crowd,
    Tally,
    assert_all_kinds_happened,
    assert_nothing_is_left,
    new_metrics,
)
from tests.chaos.faults import FaultyRunner, Seat, SeatedRun, WatchedBatch
from tests.chaos.toy_graphs import ToyLanguageModel, ToyTagger, ToyTaggerGraph, ToyText
from tests.tiny_bundles import WORDS

_LIMIT_S = 600.0
_QUEUE_ITEMS = 1_000
_SLOTS = 20
_EXACT, _ROUNDED = 0.0, 1e-6


class Plan(NamedTuple):
    """The number of requests and lanes; `seed` decides what clients do, while threads decide when."""

    seed: int
    num_lanes: int
    num_requests: int


TOY_BATCHES = [Plan(1, 2, 12_000), Plan(2, 3, 12_000), Plan(3, 4, 12_000)]
TOY_STEPS = [Plan(4, 2, 4_000), Plan(5, 3, 4_000), Plan(6, 4, 4_000)]
REAL_BATCHES = [("tagging", Plan(7, 2, 2_000)), ("classification", Plan(8, 4, 2_000))]
REAL_STEPS = [("translation", Plan(9, 3, 1_500)), ("generation", Plan(10, 2, 2_000)), ("greedy", Plan(11, 2, 2_000))]


def test_the_plans_make_a_hundred_thousand_events() -> None:
    """The plans add up to 100,000 events: each request joins and ends in one of four ways."""
    plans = [*TOY_BATCHES, *TOY_STEPS, *(plan for _, plan in (*REAL_BATCHES, *REAL_STEPS))]
    assert 2 * sum(plan.num_requests for plan in plans) >= 100_000


def texts(seed: int, num_texts: int, min_words: int = 1, max_words: int = 12) -> list[str]:
    """Sentences of words in the vocabulary."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(min_words, max_words))) for _ in range(num_texts)]


def play(plan: Plan, scenario: Callable[[Lanes, Metrics], Awaitable[Tally]]) -> Tally:
    """Run a scenario on lanes that must stay alive; returns its tally."""

    async def run() -> Tally:
        lanes = Lanes(plan.num_lanes)
        async with asyncio.timeout(_LIMIT_S):
            tally = await scenario(lanes, new_metrics())
        assert lanes.is_alive
        lanes.close()
        return tally

    return asyncio.run(run())


def batches_crowd(
    plan: Plan,
    runner: Runner,
    run: Callable[[Runner, Sequence[Any]], Sequence[Any]],
    examples: Sequence[Sequence[Any]],
    finish: Callable[[Any, Any], Any],
    tolerance: float = _EXACT,
) -> Tally:
    """Send requests of one to three examples through a real batcher; `finish` postprocesses the outputs of a run."""
    alone = [[finish(example, run(runner, [example])[0]) for example in wish] for wish in examples]
    faulty = FaultyRunner(runner, plan.seed, raises=(InferenceFailed, ValueError, MemoryError))

    async def scenario(lanes: Lanes, metrics: Metrics) -> Tally:
        limits = BatchLimits(max_items=16, max_padded_tokens=128)
        batcher = Batcher(MODEL, SeatedRun(run, faulty), lanes, limits, _QUEUE_ITEMS, metrics)

        def ask(wish: int, deadline_s: float) -> Asked:
            seats = [Seat(example) for example in examples[wish]]
            outputs = batcher.submit(seats, deadline_s)
            return Asked(
                asyncio.ensure_future(finished(examples[wish], outputs, finish)),
                lambda: any(seat.is_doomed for seat in seats),
            )

        tally = await Crowd(ask, alone, plan.seed, tolerance).play(plan.num_requests)
        await assert_nothing_is_left(metrics, lambda: (batcher.num_pending, batcher.num_waiting))
        assert batcher.is_alive
        await batcher.close()
        assert_all_kinds_happened(tally, plan.num_requests)
        return tally

    tally = play(plan, scenario)
    assert faulty.num_empty_runs == 0
    return tally


async def finished(
    examples: Sequence[Any], waiting: asyncio.Future[list[Output]], finish: Callable[[Any, Any], Any]
) -> list[Any]:
    outputs = await waiting
    return [finish(example, output.value) for example, output in zip(examples, outputs, strict=True)]


@pytest.mark.parametrize("plan", TOY_BATCHES, ids=str)
def test_a_crowd_at_a_batcher_gets_its_own_answers(plan: Plan) -> None:
    chance, task = random.Random(plan.seed), ToyTagger()
    wishes = [
        [ToyText(tuple(chance.choices(range(1, 99), k=chance.randint(1, 40)))) for _ in range(chance.choice([1, 1, 3]))]
        for _ in range(200)
    ]
    tally = batches_crowd(plan, ToyTaggerGraph(), task.run, wishes, task.plain_answer)
    assert tally.num_events == 2 * plan.num_requests


@pytest.mark.parametrize(("min_words", "tolerance"), [(1, _ROUNDED), (2, _EXACT)])
@pytest.mark.parametrize(("name", "plan"), REAL_BATCHES, ids=str)
def test_a_crowd_at_a_tagger_or_classifier_gets_its_own_answers(
    tiny_models: Path, name: str, plan: Plan, min_words: int, tolerance: float
) -> None:
    opened, task = opened_task(tiny_models, name)
    parameters = check_parameters(task.parameters_type, {})
    examples = [[task.preprocess(text, parameters)] for text in texts(plan.seed, 60, min_words)]
    tally = batches_crowd(plan, opened.runner, task.run, examples, task.plain_answer, tolerance)
    assert tally.num_events == 2 * plan.num_requests


def opened_task(models: Path, name: str) -> tuple[OpenBundle, PredictTask[Any, Any]]:
    role = {"tagging": "tagger", "classification": "classifier", "translation": "translator"}[name]
    opened = open_bundle(models / f"tiny-{role}" / "1", "cpu", 1)
    assert predicts(opened.task)
    return opened, opened.task


class Steps:
    """A real continuous batcher over watched batches and a faulty runner, with the `ask` function of its crowd."""

    def __init__(self, plan: Plan, runner: Runner, new_batch: Callable[[], Any]) -> None:
        self.doomed: dict[int, Any] = {}
        self.mistakes: list[str] = []
        self.plan = plan
        self.faulty = FaultyRunner(runner, plan.seed)
        self._new_batch = new_batch

    def batcher(self, lanes: Lanes, metrics: Metrics) -> ContinuousBatcher[Any]:
        limits = StepLimits(max_waiting=_QUEUE_ITEMS, max_rows=_SLOTS)
        return ContinuousBatcher(MODEL, self._batch, self.faulty, lanes, limits, metrics, lambda *_: 0)

    def play(
        self,
        alone: Sequence[Any],
        asking: Callable[[ContinuousBatcher[Any], int, float], Asked],
        tolerance: float = _EXACT,
    ) -> Tally:
        async def scenario(lanes: Lanes, metrics: Metrics) -> Tally:
            batcher = self.batcher(lanes, metrics)
            crowd = Crowd(lambda wish, deadline_s: asking(batcher, wish, deadline_s), alone, self.plan.seed, tolerance)
            tally = await crowd.play(self.plan.num_requests)
            await assert_nothing_is_left(
                metrics, lambda: (batcher.num_pending, batcher.num_waiting, batcher.num_rows, batcher.num_live)
            )
            assert batcher.is_alive
            await batcher.close()
            assert_all_kinds_happened(tally, self.plan.num_requests)
            return tally

        tally = play(self.plan, scenario)
        assert self.faulty.num_empty_runs == 0
        assert self.mistakes == []
        return tally

    def _batch(self) -> WatchedBatch:
        return WatchedBatch(self._new_batch(), self.faulty, self.doomed, self.mistakes)


def generation_crowd(plan: Plan, opened: OpenBundle, runner: Runner) -> Tally:
    """Short generation requests, most of them with seeded sampling."""
    task, chance = opened.task, random.Random(plan.seed)
    assert isinstance(task, Generation)
    prompts = [text[: chance.randint(1, 20)] for text in texts(plan.seed, 60)]
    wishes = [
        {"max_new_tokens": chance.randint(1, 7), "do_sample": chance.random() < 0.7, "seed": n} for n in range(60)
    ]
    parameters = [GenerationParameters.model_validate(wish).options for wish in wishes]
    alone = [task.generate(runner, *wish).text for wish in zip(prompts, parameters, strict=True)]
    steps = Steps(plan, runner, lambda: task.batch(prefill_chunk_tokens=8))

    def asking(batcher: ContinuousBatcher[Any], wish: int, deadline_s: float) -> Asked:
        continuation = task.start(prompts[wish], parameters[wish])
        stream = batcher.submit(continuation, deadline_s)

        async def text() -> str:
            await stream.result()
            return continuation.result().text

        answer = asyncio.ensure_future(text())
        answer.add_done_callback(lambda _: stream.close())
        return Asked(answer, lambda: id(continuation) in steps.doomed)

    return steps.play(alone, asking)


@pytest.mark.parametrize("plan", TOY_STEPS, ids=str)
def test_a_crowd_at_a_batcher_gets_its_own_texts(tiny_models: Path, plan: Plan) -> None:
    opened = open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)
    tally = generation_crowd(plan, opened, ToyLanguageModel(opened.bundle.tokenizers["text"].vocabulary_size))
    assert tally.num_events == 2 * plan.num_requests


@pytest.mark.parametrize(("name", "plan"), REAL_STEPS, ids=str)
def test_a_crowd_at_a_real_step_model_gets_its_own_answers(tiny_models: Path, name: str, plan: Plan) -> None:
    if name == "generation":
        opened = open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)
        tally = generation_crowd(plan, opened, opened.runner)
    else:
        max_beams = 1 if name == "greedy" else 2
        tally = translation_crowd(plan, *opened_task(tiny_models, "translation"), max_beams)
    assert tally.num_events == 2 * plan.num_requests


def translation_crowd(plan: Plan, opened: OpenBundle, task: Any, max_beams: int) -> Tally:
    """Requests of one or two sentences; with `max_beams=1` the rows of a run equal its sentences."""
    chance = random.Random(plan.seed)
    wishes = [
        (
            texts(chance.randrange(10**6), chance.randint(1, 2), max_words=39),
            {"num_beams": chance.randint(1, max_beams), "max_new_tokens": 9},
        )
        for _ in range(60)
    ]
    alone = [[answer_one(opened, text, rules).model_dump() for text in wanted] for wanted, rules in wishes]
    steps = Steps(plan, opened.runner, task.batch)

    def asking(batcher: ContinuousBatcher[Any], wish: int, deadline_s: float) -> Asked:
        wanted, rules = wishes[wish]
        checked = check_parameters(task.parameters_type, rules)
        examples = [task.preprocess(text, checked) for text in wanted]
        outputs = StepQueue(batcher).submit(examples, deadline_s)
        answer = asyncio.ensure_future(finished(examples, outputs, task.plain_answer))
        return Asked(answer, lambda: any(id(example) in steps.doomed for example in examples))

    return steps.play(alone, asking, _ROUNDED)
