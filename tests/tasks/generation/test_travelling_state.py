"""Generation resumed from a serialized state equals uninterrupted generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import InvalidInput
from service.tasks.core.task import Array
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.stream_state import StreamState
from tests.tasks.builders import STATE, ElmanRunner, bundle, byte_tokenizer, character_tokenizer

LENGTH = 14
RULES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"samples": True, "seed": 7},
    "temperature": {"temperature": 0.6, "samples": True, "seed": 2**64 - 1},
    "top-k": {"top_k": 4, "samples": True, "seed": 1},
    "top-p": {"top_p": 0.7, "samples": True, "seed": 2},
    "typical-p": {"typical_p": 0.7, "samples": True, "seed": 3},
    "repetition": {"repetition_penalty": 1.4},
    "frequency": {"frequency_penalty": 0.8, "samples": True, "seed": 4},
    "all": {"temperature": 0.9, "top_k": 9, "top_p": 0.9, "typical_p": 0.9, "samples": True, "seed": 5}
    | {"repetition_penalty": 1.2, "frequency_penalty": -0.3},
    "presence": {"presence_penalty": 1.5, "samples": True, "seed": 6},
    "bias": {"logit_bias": {5: -100.0, 7: 1.0}, "samples": True, "seed": 7},
    "regex": {"regex": "([a-hà-ü]{3} )+", "samples": True, "seed": 8},
    "bad words": {"bad_words": ("ab", "ba", "ee", "é"), "samples": True, "seed": 9},
}
KEEP = Delivery(returns_state=True)


def task_of(tokenizer: TextTokenizer) -> Generation:
    return Generation(bundle(GenerationOptions(), {"text": tokenizer}, limits=Limits(max_new_tokens=LENGTH)))


LETTERS = character_tokenizer("abcdefgh ")
BYTES = byte_tokenizer()
LETTER_TASK, BYTE_TASK = task_of(LETTERS), task_of(BYTES)


class Endless(ElmanRunner):
    """A model that never produces the end token."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        super().__init__(tokenizer.vocabulary_size, seed=5, sharpness=1.0)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(graph, feeds)
        outputs["logits"][..., EOS] = -99.0
        return outputs


def run(task: Generation, tokenizer: TextTokenizer, continuation: GenerationRequest) -> GenerationRequest:
    for _ in task.events(Endless(tokenizer), continuation):
        pass
    return continuation


def sent(state: StreamState, tokenizer: TextTokenizer) -> StreamState:
    """The state after a round trip through bytes, as another replica receives it."""
    return StreamState.from_bytes(state.to_bytes(), [STATE], tokenizer.vocabulary_size)


def in_two_parts(
    task: Generation, tokenizer: TextTokenizer, options: dict[str, Any], cut: int
) -> list[GenerationRequest]:
    """Generate in two parts: only the first gets the seed; the second reads it from the state."""
    first = SamplingOptions(**options, max_new_tokens=cut)
    second = SamplingOptions(**{**options, "seed": None}, max_new_tokens=LENGTH - cut)
    begun = run(task, tokenizer, task.start("abc", first, KEEP))
    (state,) = begun.states()
    return [begun, run(task, tokenizer, task.start("", second, KEEP, sent(state, tokenizer)))]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(("task", "tokenizer"), [(LETTER_TASK, LETTERS), (BYTE_TASK, BYTES)], ids=["letters", "bytes"])
def test_tokens_text_and_state_are_those_of_an_uncut_run(
    task: Generation, tokenizer: TextTokenizer, rules: str
) -> None:
    """Text cut after any token, even inside a character, resumes to the same tokens, text and final state."""
    options = RULES[rules]
    whole = run(task, tokenizer, task.start("abc", SamplingOptions(**options, max_new_tokens=LENGTH), KEEP))
    (end,) = whole.states()
    for cut in range(1, LENGTH):
        parts = in_two_parts(task, tokenizer, options, cut)
        assert [i for part in parts for i in part.sequences[0].produced_ids] == whole.sequences[0].produced_ids
        assert "".join(part.sequences[0].text for part in parts) == whole.sequences[0].text
        (later,) = parts[1].states()
        assert (later.num_read, later.num_produced) == (end.num_read, end.num_produced)
        assert (later.seed, later.num_drawn, later.pending_token_id) == (end.seed, end.num_drawn, end.pending_token_id)
        assert later.arrays[STATE.name].tobytes() == end.arrays[STATE.name].tobytes()


def test_a_stop_string_across_the_cut_ends_the_text() -> None:
    whole = run(LETTER_TASK, LETTERS, LETTER_TASK.start("abc", SamplingOptions(max_new_tokens=LENGTH)))
    stop = whole.sequences[0].text[3:7]
    options = {"stop": [stop]}
    uncut = run(LETTER_TASK, LETTERS, LETTER_TASK.start("abc", SamplingOptions(**options, max_new_tokens=LENGTH)))
    ends = len(uncut.sequences[0].produced_ids)
    assert uncut.sequences[0].finish_reason == "stop_sequence"
    for cut in range(1, ends):
        first, second = in_two_parts(LETTER_TASK, LETTERS, options, cut)
        assert second.sequences[0].finish_reason == "stop_sequence"
        assert first.sequences[0].text + second.sequences[0].text == uncut.sequences[0].text


def test_a_new_prompt_is_read_after_the_newest_token_of_the_state() -> None:
    """A prompt after a resumed state gives the same result as one prompt with the whole text."""
    begun = run(LETTER_TASK, LETTERS, LETTER_TASK.start("abc", SamplingOptions(max_new_tokens=5), KEEP))
    (state,) = begun.states()
    options = SamplingOptions(max_new_tokens=6, lists_tokens=True)
    listed = Delivery(prompt_logprobs=True)
    later = run(LETTER_TASK, LETTERS, LETTER_TASK.start("fga", options, listed, sent(state, LETTERS)))
    uncut = LETTER_TASK.generate(Endless(LETTERS), "abc" + begun.sequences[0].text + "fga", options, listed)
    answer = later.result()
    assert answer.text == uncut.text
    later_prompt = [token.log_probability for token in answer.prompt_tokens]
    assert later_prompt == pytest.approx([token.log_probability for token in uncut.prompt_tokens[-3:]], abs=1e-5)


def test_a_state_can_be_forked_and_the_first_fork_is_the_uncut_text() -> None:
    options = RULES["all"]
    whole = run(LETTER_TASK, LETTERS, LETTER_TASK.start("abc", SamplingOptions(**options, max_new_tokens=12)))
    begun = run(LETTER_TASK, LETTERS, LETTER_TASK.start("abc", SamplingOptions(**options, max_new_tokens=5), KEEP))
    forks = LETTER_TASK.start(
        "",
        SamplingOptions(**{**options, "seed": None}, max_new_tokens=7),
        Delivery(num_continuations=3, returns_state=True),
        begun.states()[0],
    )
    run(LETTER_TASK, LETTERS, forks)
    assert begun.sequences[0].text + forks.sequences[0].text == whole.sequences[0].text
    assert len({sequence.text for sequence in forks.sequences}) > 1
    assert [state.seed for state in forks.states()] == [5, 6, 7]


def test_a_greedy_part_leaves_the_random_numbers_where_they_were() -> None:
    drawn = run(LETTER_TASK, LETTERS, LETTER_TASK.start("a", SamplingOptions(**RULES["top-k"]), KEEP))
    (before,) = drawn.states()
    greedy = run(LETTER_TASK, LETTERS, LETTER_TASK.start("", SamplingOptions(max_new_tokens=3), KEEP, before))
    (after,) = greedy.states()
    assert (after.seed, after.num_drawn) == (before.seed, before.num_drawn)


def test_without_a_state_there_must_be_a_prompt_and_only_who_asks_gets_a_state() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        LETTER_TASK.start("", SamplingOptions(), KEEP)
    done = run(LETTER_TASK, LETTERS, LETTER_TASK.start("a", SamplingOptions(max_new_tokens=2)))
    with pytest.raises(ValueError, match="none was asked for"):
        done.states()
