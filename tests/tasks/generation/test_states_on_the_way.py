"""Intermediate states of a stream: generation resumed from any of them produces the same remaining text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from service.bundle.tokenizer import TextTokenizer
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.stream_state import StreamState
from tests.tasks.builders import STATE
from tests.tasks.generation.test_travelling_state import (
    BYTE_TASK,
    BYTES,
    LENGTH,
    LETTER_TASK,
    LETTERS,
    RULES,
    Endless,
    run,
    sent,
)

EVERY_TOKEN = Delivery(is_streamed=True, state_every=1)
TASKS = pytest.mark.parametrize(
    ("task", "tokenizer"), [(LETTER_TASK, LETTERS), (BYTE_TASK, BYTES)], ids=["letters", "bytes"]
)


def start(task: Generation, options: Mapping[str, Any], delivery: Delivery = EVERY_TOKEN) -> GenerationRequest:
    return task.start("abc", SamplingOptions(**options, max_new_tokens=LENGTH), delivery)


def streamed(
    task: Generation, tokenizer: TextTokenizer, continuation: GenerationRequest
) -> tuple[list[str], dict[int, StreamState]]:
    """The text chunks, and the states by the number of tokens before them."""
    pieces, states = [], {}
    for event in task.events(Endless(tokenizer), continuation):
        pieces.append(event.token.text)
        if (state := continuation.state_after(event.index)) is not None:
            states[event.index] = sent(state, tokenizer)
    return pieces, states


@pytest.mark.parametrize("rules", RULES)
@TASKS
def test_from_every_state_the_rest_of_the_stream_follows(
    task: Generation, tokenizer: TextTokenizer, rules: str
) -> None:
    """A stream resumed from any state yields the same remaining chunks, even if the state is inside a character."""
    pieces, states = streamed(task, tokenizer, start(task, RULES[rules]))
    assert list(states) == list(range(1, LENGTH))
    for num_tokens, state in states.items():
        options = SamplingOptions(**RULES[rules], max_new_tokens=LENGTH - num_tokens)
        rest, _ = streamed(task, tokenizer, task.start("", options, EVERY_TOKEN, state))
        assert rest == pieces[num_tokens:]


@TASKS
def test_a_state_on_the_way_is_the_one_of_a_text_that_ends_there(task: Generation, tokenizer: TextTokenizer) -> None:
    _, states = streamed(task, tokenizer, start(task, RULES["all"]))
    for num_tokens in (1, 6, LENGTH - 1):
        options = SamplingOptions(**RULES["all"], max_new_tokens=num_tokens)
        (ended,) = run(task, tokenizer, task.start("abc", options, Delivery(returns_state=True))).states()
        on_the_way = states[num_tokens]
        assert on_the_way.arrays[STATE.name].tobytes() == ended.arrays[STATE.name].tobytes()
        assert (on_the_way.num_read, on_the_way.num_produced) == (ended.num_read, ended.num_produced)
        assert (on_the_way.seed, on_the_way.num_drawn) == (ended.seed, ended.num_drawn)
        assert on_the_way.pending_token_id == ended.pending_token_id


def test_states_come_after_every_so_many_tokens_and_change_nothing_else() -> None:
    plain, none = streamed(LETTER_TASK, LETTERS, start(LETTER_TASK, RULES["sampled"], Delivery(is_streamed=True)))
    pieces, states = streamed(LETTER_TASK, LETTERS, start(LETTER_TASK, RULES["sampled"], Delivery(True, state_every=4)))
    assert (pieces, none) == (plain, {})
    assert list(states) == [4, 8, 12]


def test_a_state_on_the_way_is_handed_out_once() -> None:
    """An intermediate state is released once it has been taken."""
    continuation = start(LETTER_TASK, {})
    run(LETTER_TASK, LETTERS, continuation)
    assert continuation.state_after(5) is not None
    assert continuation.state_after(5) is None
