"""Log-probabilities and perplexity of a given text, prompts as token ids, and reading without writing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import UNK
from service.errors import InvalidInput
from service.inference.state.prefix_cache import PrefixCache
from service.tasks.core.probabilities import log_softmax
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.generation.generation import Generation
from service.tasks.generation.generation_batch import GenerationBatch
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import PromptScore
from service.tasks.generation.stream_state import StreamState
from tests.tasks.builders import STATE, ElmanRunner, bundle, character_tokenizer

LETTERS = character_tokenizer("abcdefgh ")
LIMITS = Limits(max_input_tokens=400, max_new_tokens=30)
TASK = Generation(bundle(GenerationOptions(), {"text": LETTERS}, limits=LIMITS))
RUNNER = ElmanRunner(LETTERS.vocabulary_size, seed=5, sharpness=2.0)
TEXT = "abcd efgh" * 9
READ = SamplingOptions(max_new_tokens=0)
SCORED = Delivery(prompt_logprobs=True)


def step_by_step(ids: list[int]) -> list[float]:
    """The log-probability of each token but the first, by steps of a single row."""
    model = LanguageModel([STATE], LETTERS.vocabulary_size)
    state, found = RecurrentState.zeros([STATE], 1), []
    for token_id, following in pairwise(ids):
        logits, state = model.step(RUNNER, np.array([token_id]), state)
        found.append(float(log_softmax(logits)[0, following]))
    return found


def finish(batch: GenerationBatch, *requests: GenerationRequest) -> list[GenerationRequest]:
    """Run the batch to its end; returns the requests in the order in which they finished."""
    batch.join(requests)
    ended = []
    while not batch.is_idle:
        outcomes = batch.advance(RUNNER)
        assert all(outcome.error is None for outcome in outcomes)
        ended += [outcome.request for outcome in outcomes if outcome.finished]
    return ended


def scores_of(request: GenerationRequest) -> list[float | None]:
    return [token.log_probability for token in request.result().prompt_tokens]


@pytest.mark.parametrize("chunk_tokens", [7, 128])
@pytest.mark.parametrize("max_new_tokens", [0, 1, 5])
def test_the_log_probabilities_of_a_text_are_those_of_stepping_through_it(
    chunk_tokens: int, max_new_tokens: int
) -> None:
    """Long texts in chunks, beside texts that are being written, and with a cached prefix that must not be used."""
    cache = PrefixCache(max_bytes=10**6, block_tokens=16)
    batch = TASK.batch(prefill_chunk_tokens=chunk_tokens, checkpoints=cache)
    finish(batch, TASK.start(TEXT, SamplingOptions(max_new_tokens=1)))
    scored = [TASK.start(text, SamplingOptions(max_new_tokens=max_new_tokens), SCORED) for text in (TEXT, TEXT[:30])]
    others = [TASK.start("abc", SamplingOptions(max_new_tokens=20)) for _ in range(10)]
    assert len(finish(batch, *others, *scored)) == 12
    for request in scored:
        first, *rest = scores_of(request)
        assert first is None
        assert rest == pytest.approx(step_by_step(request.prompt_ids), abs=1e-5)


def test_perplexity_and_bits_per_character_are_those_of_the_definition() -> None:
    request = TASK.start(TEXT, READ, SCORED)
    finish(TASK.batch(), request)
    expected = step_by_step(request.prompt_ids)
    score = request.result().prompt_score
    assert score is not None
    assert score.perplexity == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-5)
    assert score.bits_per_character == pytest.approx(-sum(expected) / math.log(2) / (len(TEXT) - 1), rel=1e-5)


@pytest.mark.parametrize("delivery", [Delivery(), SCORED, Delivery(num_continuations=3, prompt_logprobs=True)])
@pytest.mark.parametrize("prompt", ["a", TEXT])
def test_a_request_of_no_tokens_reads_and_ends(delivery: Delivery, prompt: str) -> None:
    """Nothing is chosen, no row is taken, and no step is run."""
    runner, batch = ElmanRunner(LETTERS.vocabulary_size), TASK.batch()
    request = TASK.start(prompt, READ, delivery)
    batch.join([request])
    outcomes = []
    while not batch.is_idle:
        outcomes += batch.advance(runner)
    assert [(outcome.request, outcome.finished, outcome.error) for outcome in outcomes] == [(request, True, None)]
    assert (runner.num_steps, batch.num_rows) == (0, 0)
    result = request.result()
    assert [(text.text, text.token_ids, text.finish_reason) for text in result.sequences] == [
        ("", [], "length")
    ] * delivery.num_continuations
    assert (result.prompt_score is None) == (not delivery.prompt_logprobs or prompt == "a")


def test_a_text_continues_from_the_state_of_one_that_was_only_read() -> None:
    """Reading with 0 new tokens and continuing from the state writes what one request would have written."""
    read = TASK.start("abc", READ, Delivery(returns_state=True))
    finish(TASK.batch(), read)
    (state,) = read.states()
    sent = StreamState.from_bytes(state.to_bytes(), [STATE], LETTERS.vocabulary_size)
    for prompt in ("", "fg"):
        options = SamplingOptions(max_new_tokens=9, repetition_penalty=1.3)
        later = TASK.start(prompt, options, None, sent)
        whole = TASK.start("abc" + prompt, options)
        finish(TASK.batch(), later)
        finish(TASK.batch(), whole)
        assert later.text == whole.text


def test_those_that_leave_before_they_are_told_are_forgotten() -> None:
    batch, request = TASK.batch(), TASK.start("a", READ)
    batch.join([request])
    batch.leave([request])
    assert batch.is_idle
    batch.join([request])
    assert batch.clear() == [request]
    assert batch.is_idle


def test_a_prompt_of_ids_is_the_text_of_those_ids() -> None:
    options = SamplingOptions(max_new_tokens=9)
    ids = LETTERS.encode("abc")
    assert TASK.generate(RUNNER, ids, options) == TASK.generate(RUNNER, "abc", options)
    assert TASK.start(ids * 9, SamplingOptions(max_prompt_tokens=4)).prompt_ids == (ids * 9)[-4:]
    assert TASK.start([UNK], options).prompt_ids == [UNK]


@pytest.mark.parametrize(
    ("prompt", "field", "message"),
    [
        ([], ("inputs",), "no token"),
        ([4, 13], ("inputs", 1), "ids 0 to 12, 13 is none"),
        ([-1], ("inputs", 0), "-1 is none"),
        ([4, True], ("inputs", 1), "True is none"),
        ([4.0], ("inputs", 0), "4.0 is none"),
        (["a"], ("inputs", 0), "'a' is none"),
        ([None], ("inputs", 0), "None is none"),
        ([2**70], ("inputs", 0), "is none"),
        ([4] * 401, ("inputs",), "401 tokens, this model takes at most 400"),
    ],
)
def test_ids_that_are_none_are_refused_with_their_place(prompt: Any, field: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        TASK.start(prompt, SamplingOptions())
    assert caught.value.field == field


def test_a_stream_of_no_tokens_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 1") as caught:
        TASK.start("a", READ, Delivery(is_streamed=True))
    assert caught.value.field == ("parameters", "max_new_tokens")


def test_no_surprise_is_too_large_for_a_number() -> None:
    assert math.isfinite(PromptScore.of([-1e30], 1).perplexity)
    assert PromptScore.of([-1.0], 0).bits_per_character is None
