"""Continuous batching of generation: which rows each run contains, and which requests a failure ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed
from service.inference.state.prefix_cache import PrefixCache
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Array
from service.tasks.generation.generation import Generation
from service.tasks.generation.generation_batch import GenerationBatch
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import GenerationResult, TokenEvent
from tests.tasks.builders import STATE, ElmanRunner, bundle, character_tokenizer

LETTERS = "abcdefghij \n"
VOCAB = 4 + len(LETTERS)
TASK = Generation(
    bundle(GenerationOptions(), {"text": character_tokenizer(LETTERS)}, limits=Limits(max_input_tokens=400))
)


class Watched(ElmanRunner):
    """A runner that records the tokens or rows of each run; it can fail or return non-finite numbers on request."""

    def __init__(self) -> None:
        super().__init__(VOCAB, seed=5, sharpness=1.0)
        self.may_end = False
        self.runs: list[tuple[str, tuple[int, ...]]] = []
        self.fail_next = ""
        self.bad_rows: list[int] = []
        self.feeds: Mapping[str, Array] = {}
        self.outputs: dict[str, Array] = {}

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if graph == self.fail_next:
            self.fail_next = ""
            raise InferenceFailed(f"graph {graph!r} failed")
        self.runs.append((graph, feeds["tokens" if graph == "prompt" else "token"].shape))
        self.feeds, self.outputs = feeds, super().run(graph, feeds)
        if not self.may_end:
            self.outputs["logits"][..., EOS] = -99.0
        self.outputs["logits"][self.bad_rows] = np.nan
        self.bad_rows = []
        return self.outputs


@pytest.fixture
def runner() -> Watched:
    return Watched()


def start(prompt: str, **parameters: Any) -> GenerationRequest:
    return TASK.start(prompt, SamplingOptions(**{"max_new_tokens": 10, **parameters}))


def alone(prompt: str, **parameters: Any) -> str:
    return TASK.generate(Watched(), prompt, SamplingOptions(**{"max_new_tokens": 10, **parameters})).text


def play(batch: GenerationBatch, runner: Watched, num_runs: int = 10_000) -> list[Outcome[GenerationRequest]]:
    """Advance the batch until it is idle or `num_runs` is reached; returns all outcomes."""
    outcomes = []
    for _ in range(num_runs):
        if batch.is_idle:
            break
        outcomes += batch.advance(runner)
    return outcomes


def test_requests_join_and_leave_without_touching_each_other(runner: Watched) -> None:
    batch, first, second = TASK.batch(), start("abc"), start("bb", max_new_tokens=3)
    batch.join([first])
    play(batch, runner, 3)
    batch.join([second])
    finished = [outcome.request for outcome in play(batch, runner) if outcome.finished]
    assert finished == [second, first]
    assert [first.result().text, second.result().text] == [alone("abc"), alone("bb")[:3]]
    assert max(shape for graph, shape in runner.runs if graph == "step") == (2,)
    assert runner.runs[-1] == ("step", (1,))


def test_a_request_that_is_not_followed_says_nothing_until_its_end(runner: Watched) -> None:
    batch, request = TASK.batch(), start("abc")
    batch.join([request])
    (outcome,) = play(batch, runner)
    assert outcome == Outcome(request, finished=True)


def test_a_streamed_request_says_something_at_each_step(runner: Watched) -> None:
    batch = TASK.batch()
    request = TASK.start("abc", SamplingOptions(max_new_tokens=4), Delivery(is_streamed=True))
    batch.join([request])
    outcomes = play(batch, runner)
    assert [isinstance(outcome.product, TokenEvent) for outcome in outcomes] == [True] * 4
    assert [outcome.finished for outcome in outcomes] == [False, False, False, True]


def test_a_long_prompt_is_read_in_parts_and_running_texts_step_between(runner: Watched) -> None:
    batch, running, long = TASK.batch(prefill_chunk_tokens=10), start("a", max_new_tokens=9), start("abcde" * 7)
    batch.join([running])
    play(batch, runner, 2)
    batch.join([long])
    play(batch, runner)
    part, step = ("prompt", (1, 10)), ("step", (1,))
    assert runner.runs[2:9] == [part, step, part, step, part, step, ("prompt", (1, 4))]
    assert [running.result().text, long.result().text] == [
        alone("a", max_new_tokens=9),
        alone("abcde" * 7),
    ]


def test_prompts_of_like_length_are_read_together_and_short_ones_are_not_padded_to_long_ones(runner: Watched) -> None:
    batch = TASK.batch()
    requests = [start("a" * length) for length in (20, 24, 16, 4)]
    batch.join(requests)
    play(batch, runner)
    prompts = [shape for graph, shape in runner.runs if graph == "prompt"]
    assert prompts == [(3, 19), (2, 3), (1, 1)], (
        "what is longer than the first is read to its length, the rest comes later"
    )
    assert [request.result().text for request in requests] == [alone("a" * n) for n in (20, 24, 16, 4)]


def test_few_short_prompts_among_many_live_rows_are_read_along_with_their_steps(runner: Watched) -> None:
    """Short prompts that join a large batch are prefilled in its decode steps, and their rules apply to output only."""
    batch, options = TASK.batch(), {"top_k": 5, "seed": 3, "repetition_penalty": 1.5}
    crowd = [start("ab", seed=n, samples=True, max_new_tokens=25) for n in range(9)]
    batch.join(crowd)
    play(batch, runner, 3)
    runner.runs.clear()
    few, long = [start("abcdefg", **options), start("gfe", stop=["a"])], start("abcd" * 20)
    batch.join(few)
    play(batch, runner, 2)
    assert runner.runs == [("step", (11,))] * 2
    batch.join([long])
    play(batch, runner)
    assert [shape for graph, shape in runner.runs if graph == "prompt"] == [(1, 79)]
    texts = [request.result().text for request in (*few, long, crowd[8])]
    alones = [alone("abcdefg", **options), alone("gfe", stop=["a"]), alone("abcd" * 20)]
    assert texts == [*alones, alone("ab", seed=8, samples=True, max_new_tokens=25)]


def test_many_prompts_at_once_are_read_by_a_run_of_their_own(runner: Watched) -> None:
    batch = TASK.batch()
    batch.join([start("ab", max_new_tokens=25) for _ in range(9)])
    play(batch, runner, 2)
    batch.join([start("abc") for _ in range(5)])
    play(batch, runner)
    assert [shape for graph, shape in runner.runs if graph == "prompt"] == [(9, 1), (5, 2)]


def test_as_long_as_nobody_joins_or_leaves_states_are_not_copied(runner: Watched) -> None:
    batch = TASK.batch()
    batch.join([start("abc"), start("cba")])
    play(batch, runner, 3)
    for _ in range(3):
        given = runner.outputs[STATE.next_name]
        batch.advance(runner)
        assert runner.feeds[STATE.name] is given


def test_a_failed_prompt_run_ends_exactly_those_that_were_read(runner: Watched) -> None:
    batch, running, unlucky, later = TASK.batch(), start("abc"), start("b" * 9), start("c")
    batch.join([running])
    play(batch, runner, 2)
    batch.join([unlucky, later])
    runner.fail_next = "prompt"
    outcomes = play(batch, runner)
    assert [outcome.request for outcome in outcomes if outcome.error] == [unlucky]
    assert [running.result().text, later.result().text] == [alone("abc"), alone("c")]


def test_a_failed_step_ends_exactly_those_that_were_stepped(runner: Watched) -> None:
    batch, one, other, reading = TASK.batch(prefill_chunk_tokens=4), start("abc"), start("cba"), start("a" * 12)
    batch.join([one, other])
    play(batch, runner, 2)
    batch.join([reading])
    play(batch, runner, 1)
    runner.fail_next = "step"
    outcomes = play(batch, runner)
    assert [outcome.request for outcome in outcomes if outcome.error] == [one, other]
    assert reading.result().text == alone("a" * 12)


def test_a_row_of_scores_that_are_not_finite_ends_alone(runner: Watched) -> None:
    batch = TASK.batch()
    requests = [start(prompt, samples=True, seed=4, repetition_penalty=1.1) for prompt in ("abc", "bbb", "ccc")]
    batch.join(requests)
    play(batch, runner, 4)
    runner.bad_rows = [1]
    outcomes = batch.advance(runner)
    assert batch.num_rows == 2
    outcomes += play(batch, runner)
    first, *later = outcomes
    assert (first.request, type(first.error), first.finished) == (requests[1], InferenceFailed, True)
    assert [outcome.error for outcome in later] == [None, None]
    for request, prompt in zip(requests[::2], ("abc", "ccc"), strict=True):
        assert request.result().text == alone(prompt, samples=True, seed=4, repetition_penalty=1.1)


def test_leaving_frees_rows_at_once_and_disturbs_nobody(runner: Watched) -> None:
    batch, stays, leaves, reads = TASK.batch(prefill_chunk_tokens=5), start("abc"), start("cab"), start("a" * 11)
    batch.join([stays, leaves])
    play(batch, runner, 3)
    batch.join([reads])
    play(batch, runner, 1)
    assert batch.num_rows == 3
    batch.leave([leaves, reads, start("never joined")])
    assert batch.num_rows == 1
    play(batch, runner)
    assert stays.result().text == alone("abc")
    assert not leaves.finished


def test_clearing_names_every_request_once(runner: Watched) -> None:
    batch = TASK.batch(prefill_chunk_tokens=5)
    forked = TASK.start("ab", SamplingOptions(max_new_tokens=9), Delivery(num_continuations=3))
    reading = start("a" * 11)
    batch.join([forked])
    play(batch, runner, 2)
    batch.join([reading])
    assert batch.clear() == [reading, forked]
    assert batch.is_idle
    assert batch.num_rows == 0


def test_forks_cost_one_prompt_and_draw_with_the_seeds_that_follow(runner: Watched) -> None:
    options = SamplingOptions(samples=True, seed=2**64 - 1, max_new_tokens=6, lists_tokens=True, top_k=9)
    forked = TASK.start("abcab", options, Delivery(num_continuations=3))
    batch = TASK.batch()
    batch.join([forked])
    assert batch.num_rows == 3
    outcomes = play(batch, runner)
    assert [outcome.finished for outcome in outcomes] == [True]
    assert [run for run in runner.runs if run[0] == "prompt"] == [("prompt", (1, 4))]
    single = [TASK.generate(Watched(), "abcab", dataclasses.replace(options, seed=s)) for s in (2**64 - 1, 0, 1)]
    assert [GenerationResult([text], []) for text in forked.result().sequences] == single


def test_greedy_forks_are_alike_and_each_ends_on_its_own(runner: Watched) -> None:
    greedy = TASK.start("abc", SamplingOptions(max_new_tokens=5), Delivery(num_continuations=2))
    batch = TASK.batch()
    batch.join([greedy])
    play(batch, runner)
    assert {sequence.text for sequence in greedy.sequences} == {alone("abc", max_new_tokens=5)}
    runner.may_end = True
    drawn = TASK.start("abc", SamplingOptions(samples=True, seed=1, max_new_tokens=40), Delivery(num_continuations=6))
    batch.join([drawn])
    outcomes = play(batch, runner)
    assert [outcome.finished for outcome in outcomes] == [True]
    assert len({len(sequence.produced_ids) for sequence in drawn.sequences}) > 1


def test_a_known_prefix_is_not_read_again(runner: Watched) -> None:
    """Prefill skips a cached prefix; states are cached per block and before the last token of a long prompt."""
    cache = PrefixCache(max_bytes=10**6, block_tokens=16)
    long = "abcdefghij" * 10
    texts = []
    for prompt in (long, long, long + "abc", long[:70] + "bbbbb"):
        runner.runs.clear()
        batch, request = TASK.batch(prefill_chunk_tokens=32, checkpoints=cache), start(prompt)
        batch.join([request])
        play(batch, runner)
        texts.append(request.result().text)
        num_read = sum(shape[1] for graph, shape in runner.runs if graph == "prompt")
        assert num_read == {0: 99, 1: 0, 2: 3, 3: 10}[len(texts) - 1]
    assert texts == [alone(long), alone(long), alone(long + "abc"), alone(long[:70] + "bbbbb")]


def test_a_report_on_the_prompt_reads_all_of_it_also_in_parts(runner: Watched) -> None:
    cache = PrefixCache(max_bytes=10**6, block_tokens=16)
    options = SamplingOptions(max_new_tokens=2, lists_tokens=True)
    prompt = "abcdefghij" * 4
    answers = []
    for batch in (TASK.batch(), TASK.batch(prefill_chunk_tokens=7), TASK.batch(checkpoints=cache)):
        request = TASK.start(prompt, options, Delivery(prompt_logprobs=True))
        batch.join([request])
        play(batch, runner)
        answers.append([token.log_probability for token in request.result().prompt_tokens])
    assert len(answers[0]) == 40
    assert answers[0][0] is None
    np.testing.assert_allclose(answers[1][1:], answers[0][1:], atol=1e-6)
    assert answers[2] == pytest.approx(answers[0])


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_short_prompt_waits_for_two_runs_beside_many_long_ones(runner: Watched, is_streamed: bool) -> None:
    """Forty prompts of 400 tokens are being read: a short one is read in one of the next two runs."""
    batch = TASK.batch()
    batch.join([start("abcd" * 99 + "ab") for _ in range(40)])
    play(batch, runner, 3)
    batch.join([TASK.start("bad", SamplingOptions(max_new_tokens=3), Delivery(is_streamed=is_streamed))])
    before = len(runner.runs)
    play(batch, runner, 2)
    assert ("prompt", (41, 2)) in runner.runs[before:], "of the long ones as many tokens are read along"


def test_long_prompts_do_not_starve_texts_that_are_being_written(runner: Watched) -> None:
    """Every second run is a step while prompts are read, and a run that reads is bounded."""
    batch = TASK.batch()
    batch.join([start("a", max_new_tokens=60)])
    play(batch, runner, 1)
    batch.join([start("abcd" * 99 + "ab") for _ in range(64)])
    before = len(runner.runs)
    play(batch, runner, 40)
    graphs = [graph for graph, _ in runner.runs[before:]]
    assert graphs.count("step") >= 20
    assert max(rows * time for graph, (rows, *rest) in runner.runs for time in rest) <= 2048


def test_short_prompts_that_keep_coming_do_not_starve_a_long_one(runner: Watched) -> None:
    batch = TASK.batch(prefill_chunk_tokens=16)
    long = start("abcd" * 20, max_new_tokens=1)
    batch.join([long])
    ended: list[GenerationRequest] = []
    for _ in range(60):
        batch.join([start("bad", max_new_tokens=1)])
        ended += [outcome.request for outcome in play(batch, runner, 1)]
    assert long in ended
