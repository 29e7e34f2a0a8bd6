"""Constrained texts: those of a slow loop with a mask by trial, alone and in company, cut and resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.bundle.load import Bundle
from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import EOS, UNK, TextTokenizer
from service.errors import InvalidInput
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.stream_state import StreamState
from tests.tasks.builders import STATE, ElmanRunner, bundle, character_tokenizer, word_tokenizer
from tests.tasks.generation.constraints.vocabularies import spaced

LETTERS = character_tokenizer("abcdefgh ,.")
SUBWORDS = spaced(["▁", "a", "b", "c", "▁a", "ab", "▁ab", "▁b", "bc", "ca"])
CHOICES = ("abba", "abc", "ca", "cab")
PROMPT = "a b"


def bundle_of(tokenizer: TextTokenizer) -> Bundle:
    return bundle(GenerationOptions(), {"text": tokenizer}, limits=Limits(max_input_tokens=40, max_new_tokens=40))


def runner_of(tokenizer: TextTokenizer) -> ElmanRunner:
    return ElmanRunner(tokenizer.vocabulary_size, seed=3, sharpness=1.5)


def text_so_far(tokenizer: TextTokenizer, prompt: list[int], ids: list[int]) -> str:
    return tokenizer.decode([*prompt, *ids])[len(tokenizer.decode(prompt)) :]


def by_trial(tokenizer: TextTokenizer, may_be: Callable[[str], bool], may_end: Callable[[str], bool]) -> str:
    """Greedy decoding that recomputes all for each token, and tries the text with every token of the vocabulary."""
    task, runner = Generation(bundle_of(tokenizer)), runner_of(tokenizer)
    prompt, ids = tokenizer.encode(PROMPT), []
    for _ in range(40):
        logits, _ = task.read(runner, [[*prompt, *ids]])
        so_far = text_so_far(tokenizer, prompt, ids)
        best, best_score = EOS, float(logits[0, -1, EOS]) if may_end(so_far) else -np.inf
        for token_id in range(EOS + 1, tokenizer.vocabulary_size):
            longer = text_so_far(tokenizer, prompt, [*ids, token_id])
            if may_be(longer) and logits[0, -1, token_id] > best_score:
                best, best_score = token_id, float(logits[0, -1, token_id])
        if best == EOS:
            break
        ids.append(best)
    return text_so_far(tokenizer, prompt, ids)


@pytest.mark.parametrize("tokenizer", [LETTERS, SUBWORDS], ids=["letters", "subwords"])
def test_choices_are_decoded_as_a_mask_by_trial_decodes_them(tokenizer: TextTokenizer) -> None:
    options = SamplingOptions(choices=CHOICES, max_new_tokens=40)
    answer = Generation(bundle_of(tokenizer)).generate(runner_of(tokenizer), PROMPT, options)
    expected = by_trial(
        tokenizer, lambda text: any(choice.startswith(text) for choice in CHOICES), lambda text: text in CHOICES
    )
    assert answer.text == expected
    assert answer.text in CHOICES
    assert answer.sequences[0].finish_reason == "eos_token"


@pytest.mark.parametrize("tokenizer", [LETTERS, SUBWORDS], ids=["letters", "subwords"])
def test_bad_words_are_left_out_as_a_mask_by_trial_leaves_them_out(tokenizer: TextTokenizer) -> None:
    free = Generation(bundle_of(tokenizer)).generate(runner_of(tokenizer), PROMPT, SamplingOptions(max_new_tokens=40))
    bad_words = (free.text[2:4], free.text[0:1] + "a", "bc")
    options = SamplingOptions(bad_words=bad_words, max_new_tokens=40)
    answer = Generation(bundle_of(tokenizer)).generate(runner_of(tokenizer), PROMPT, options)
    expected = by_trial(tokenizer, lambda text: not any(word in text for word in bad_words), lambda text: True)
    assert answer.text == expected != free.text


RULES: list[dict[str, Any]] = [
    {"regex": "([a-c]{2}, )+[a-c]{2}\\.", "samples": True, "seed": 4},
    {"choices": ("abc", "cab", "fed"), "temperature": 2.0, "samples": True, "seed": 5},
    {"regex": "[^a]{3,9}", "bad_words": ("b", "cc"), "repetition_penalty": 1.5, "logit_bias": {EOS: 5.0, 7: -100.0}},
    {"bad_words": ("a", "e "), "top_k": 3, "samples": True, "seed": 6, "presence_penalty": 1.0},
    {"regex": "(a|b)*c", "top_p": 0.5, "samples": True, "seed": 7, "lists_tokens": True},
    {"samples": True, "seed": 8, "lists_tokens": True},
    {},
]


def requests(task: Generation, delivery: Delivery | None = None) -> list[GenerationRequest]:
    return [
        task.start("abc"[: 1 + n % 3], SamplingOptions(max_new_tokens=30 - n, **rules), delivery)
        for n, rules in enumerate(RULES)
    ]


def test_constrained_rows_are_the_same_in_any_company() -> None:
    """Constrained and free rows of a batch choose what they choose alone; `test_sampling` compares to the last bit."""
    task, runner = Generation(bundle_of(LETTERS)), runner_of(LETTERS)
    together = requests(task)
    batch = task.batch()
    batch.join(together)
    while not batch.is_idle:
        assert all(outcome.error is None for outcome in batch.advance(runner))
    for request, alone in zip(together, requests(task), strict=True):
        for _ in task.events(runner, alone):
            pass
        (text,), (expected,) = request.result().sequences, alone.result().sequences
        assert (text.token_ids, text.text) == (expected.token_ids, expected.text)
        scores = [token.log_probability for token in expected.tokens]
        assert [token.log_probability for token in text.tokens] == pytest.approx(scores, abs=1e-6)
    texts = [request.text for request in together]
    assert not set("ab") & set(texts[2])
    assert texts[1] in ("abc", "cab", "fed")


def test_what_is_drawn_matches_unless_it_was_cut() -> None:
    task, runner = Generation(bundle_of(LETTERS)), runner_of(LETTERS)
    pattern = "([a-c]{2}, ){1,3}[a-c]{2}\\."
    for seed in range(20):
        options = SamplingOptions(regex=pattern, samples=True, seed=seed, max_new_tokens=40, temperature=3.0)
        (text,) = task.generate(runner, "ab", options).sequences
        assert text.finish_reason == "eos_token"
        assert re.fullmatch(pattern, text.text)


def test_several_continuations_have_a_place_of_their_own_each() -> None:
    task, runner = Generation(bundle_of(LETTERS)), runner_of(LETTERS)
    options = SamplingOptions(choices=("abc", "cab", "fed", "bbb"), samples=True, seed=1, temperature=5.0)
    result = task.generate(runner, "ab", options, Delivery(num_continuations=9))
    assert {text.text for text in result.sequences} <= {"abc", "cab", "fed", "bbb"}
    assert len({text.text for text in result.sequences}) > 1


def finished(task: Generation, request: GenerationRequest) -> GenerationRequest:
    for _ in task.events(runner_of(LETTERS), request):
        pass
    return request


def state_of(request: GenerationRequest) -> StreamState:
    (state,) = request.states()
    return StreamState.from_bytes(state.to_bytes(), [STATE], LETTERS.vocabulary_size)


KEEP = Delivery(returns_state=True)


def test_a_choice_cut_after_any_token_is_completed_from_its_state() -> None:
    """The state carries the place in the constraint, to a replica that has never compiled it."""
    options = {"choices": ("abcabcab", "abcdefgh", "hgfedcba"), "samples": True}
    task = Generation(bundle_of(LETTERS))
    whole = finished(task, task.start("a", SamplingOptions(**options, seed=2)))
    for cut in range(1, 8):
        begun = finished(task, task.start("a", SamplingOptions(**options, seed=2, max_new_tokens=cut), KEEP))
        other = Generation(bundle_of(LETTERS))
        rest = finished(other, other.start("", SamplingOptions(**options), KEEP, state_of(begun)))
        assert begun.text + rest.text == whole.text
        assert rest.sequences[0].finish_reason == "eos_token"


def test_another_constraint_a_new_prompt_or_a_complete_text_begin_anew() -> None:
    task = Generation(bundle_of(LETTERS))
    options = SamplingOptions(choices=("abc", "bca"))
    state = state_of(finished(task, task.start("a", SamplingOptions(choices=("abc", "bca"), max_new_tokens=2), KEEP)))
    for prompt, later in (("", SamplingOptions(choices=("fgh",))), ("h", options)):
        rest = finished(task, task.start(prompt, later, None, state))
        assert rest.text in later.choices
    complete = state_of(finished(task, task.start("a", options, KEEP)))
    assert complete.constraint_key == b""
    assert finished(task, task.start("", options, None, complete)).text in options.choices
    unknown = SamplingOptions(max_new_tokens=5)
    assert len(finished(task, task.start("", unknown, None, state)).sequences[0].produced_ids) <= 5


def test_a_place_that_no_automaton_has_begins_anew() -> None:
    """A state whose place is beyond the automaton, or dead, is no error: the constraint begins with the new text."""
    task = Generation(bundle_of(LETTERS))
    options = SamplingOptions(choices=("abc", "bca"))
    state = state_of(finished(task, task.start("a", SamplingOptions(choices=("abc", "bca"), max_new_tokens=2), KEEP)))
    for place in (0, 10**6, 2**32 - 1):
        object.__setattr__(state, "constraint_state", place)
        assert finished(task, task.start("", options, None, state)).text in options.choices


def test_a_text_of_spaced_words_follows_a_known_token() -> None:
    task = Generation(bundle_of(word_tokenizer(["a", "b"])))
    options = SamplingOptions(regex="( a| b){2}")
    with pytest.raises(InvalidInput, match="ends in tokens this model knows") as caught:
        task.start("unknown", options)
    assert caught.value.field == ("inputs",)
    answer = task.generate(runner_of(word_tokenizer(["a", "b"])), "a", options)
    assert re.fullmatch("( a| b){2}", answer.text)


def test_a_free_request_compiles_nothing_and_a_constraint_once() -> None:
    """Without a constraint no vocabulary is looked through; one that is known costs nothing to start with."""
    task = Generation(bundle_of(LETTERS))
    free, bound = SamplingOptions(max_new_tokens=2), SamplingOptions(regex="a+")
    assert not task.is_costly(free)
    assert task.is_costly(bound)
    task.start("a", bound)
    assert not task.is_costly(bound)


@pytest.mark.parametrize("bias", [{EOS: 100.0}, {4: 100.0}, {UNK: 100.0}, dict.fromkeys(range(4, 15), -100.0)])
def test_a_bias_forces_or_bans_but_never_brings_special_tokens(bias: dict[int, float]) -> None:
    task = Generation(bundle_of(LETTERS))
    (text,) = task.generate(runner_of(LETTERS), "a", SamplingOptions(logit_bias=bias, max_new_tokens=5)).sequences
    assert min(text.token_ids) >= EOS
    if EOS in bias or len(bias) > 1:
        assert text.token_ids == [EOS]
    if 4 in bias and len(bias) == 1:
        assert text.text == "aaaaa"


@pytest.mark.parametrize(
    ("bias", "field", "message"),
    [
        ({15: 1.0}, "15", "ids 0 to 14, 15 is none"),
        ({-1: 1.0}, "-1", "-1 is none"),
        ({4: float("nan")}, "4", "from -100 to 100, not nan"),
        ({4: float("inf")}, "4", "from -100 to 100, not inf"),
        ({4: -100.1}, "4", "from -100 to 100"),
        (dict.fromkeys(range(2000), 1.0), None, "2000 tokens have a bias, at most 1024"),
    ],
)
def test_a_refused_bias_says_which_token(bias: dict[int, float], field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        Generation(bundle_of(LETTERS)).start("a", SamplingOptions(logit_bias=bias))
    assert caught.value.field == ("parameters", "logit_bias", *([field] if field else []))
