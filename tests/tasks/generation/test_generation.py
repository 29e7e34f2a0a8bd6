"""Generation: seeded reproducibility, batch invariance, limits, token details and input validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from service.bundle.load import Bundle
from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions
from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery
from service.tasks.generation.result import GenerationResult
from tests.tasks.builders import (
    STATE,
    WIDTH,
    ElmanRunner,
    FunctionRunner,
    bundle,
    byte_tokenizer,
    character_tokenizer,
)

LETTERS = "abcdefghij \n"
VOCAB = 4 + len(LETTERS)


def letters_bundle(**limits: int) -> Bundle:
    limit = Limits(**{"max_input_tokens": 30, "max_new_tokens": 50, **limits})
    return bundle(GenerationOptions(), {"text": character_tokenizer(LETTERS)}, limits=limit)


@pytest.fixture
def task() -> Generation:
    return Generation(letters_bundle())


@pytest.fixture
def runner() -> ElmanRunner:
    made = ElmanRunner(VOCAB, seed=5, sharpness=1.0)
    made.output[:, EOS] = 0.0
    return made


def sampling(seed: int, **more: Any) -> SamplingOptions:
    return SamplingOptions(**{"samples": True, "seed": seed, "max_new_tokens": 20, "lists_tokens": True, **more})


def generate_together(
    task: Generation,
    runner: Runner,
    requests: list[tuple[str, SamplingOptions]],
    delivery: Delivery | None = None,
) -> list[GenerationResult]:
    """Run all requests in one batch; each leaves it when it has finished."""
    continuations = [task.start(prompt, parameters, delivery) for prompt, parameters in requests]
    batch = task.batch()
    batch.join(continuations)
    while not batch.is_idle:
        assert all(outcome.error is None for outcome in batch.advance(runner))
    return [continuation.result() for continuation in continuations]


class ScriptRunner:
    """Makes the next token of a script the most likely one at each step, whatever the input."""

    def __init__(self, vocab: int, script: Sequence[int]) -> None:
        self.vocab = vocab
        self.script = iter(script)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        state = {STATE.next_name: feeds[STATE.name]}
        scores = np.zeros(self.vocab, dtype=np.float32)
        if graph == "step":
            scores[next(self.script)] = 50.0
        shape = feeds["tokens"].shape if graph == "prompt" else feeds["token"].shape
        return {"logits": np.tile(scores, (*shape, 1)), **state}


def test_texts_that_share_steps_are_what_they_are_alone(task: Generation, runner: ElmanRunner) -> None:
    requests = [
        ("abc", sampling(1)),
        ("a", sampling(2, max_new_tokens=3)),
        ("jihgfedcba", sampling(3, temperature=0.7, top_k=5)),
        ("abc", SamplingOptions(max_new_tokens=9, lists_tokens=True)),
        ("b b", sampling(4, top_p=0.8, repetition_penalty=1.3, stop=["a"])),
    ]
    together = generate_together(task, runner, requests)
    for (prompt, parameters), answer in zip(requests, together, strict=True):
        alone = task.generate(runner, prompt, parameters)
        assert alone == answer


def test_greedy_follows_the_graph_step_by_step(task: Generation, runner: ElmanRunner) -> None:
    """Greedy decoding equals a plain loop that recomputes the whole text for each token."""
    answer = task.generate(runner, "abc", SamplingOptions(max_new_tokens=8))
    tokenizer = character_tokenizer(LETTERS)
    ids = tokenizer.encode("abc")
    for _ in range(8):
        logits, _ = task.read(runner, [ids])
        token = int(logits[0, -1, EOS:].argmax()) + EOS
        if token == EOS:
            break
        ids.append(token)
    assert answer.text == tokenizer.decode(ids)[3:]


def test_the_seed_decides_the_text_and_is_reported(task: Generation, runner: ElmanRunner) -> None:
    chosen = task.generate(runner, "abc", SamplingOptions(samples=True, lists_tokens=True, max_new_tokens=30))
    seed = chosen.sequences[0].seed
    assert seed is not None
    again = task.generate(runner, "abc", sampling(seed, max_new_tokens=30))
    assert again == chosen
    texts = {task.generate(runner, "abc", sampling(seed)).text for seed in (0, 1, 2, 2**64 - 1)}
    assert len(texts) == 4


def test_greedy_reports_no_seed(task: Generation, runner: ElmanRunner) -> None:
    answer = task.generate(runner, "abc", SamplingOptions(lists_tokens=True, seed=7))
    assert answer.sequences[0].seed is None


def scripted(task: Generation, text_ids: list[int], parameters: SamplingOptions) -> GenerationResult:
    """The result of a model that produces these tokens."""
    return task.generate(ScriptRunner(VOCAB, text_ids), "abc", parameters)


def test_penalties_count_what_was_read_and_produced(task: Generation) -> None:
    """With equal scores at each step, strong penalties rule out the tokens of the prompt and of the output."""
    logits = np.arange(VOCAB, 0, -1).astype(np.float32)
    logits[EOS] = -1.0

    def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
        shape = feeds["tokens"].shape if "tokens" in feeds else feeds["token"].shape
        return {"logits": np.tile(logits, (*shape, 1)), STATE.next_name: feeds[STATE.name]}

    parameters = SamplingOptions(repetition_penalty=1e9, max_new_tokens=4)
    runner = FunctionRunner(prompt=answer, step=answer)
    assert task.generate(runner, "a", parameters).text == "bcde"


def test_the_end_token_ends_the_text_and_is_listed_but_not_written(task: Generation) -> None:
    ids = [*character_tokenizer(LETTERS).encode("ab"), EOS, 9]
    answer = scripted(task, ids, SamplingOptions(lists_tokens=True))
    assert answer.text == "ab"
    (text,) = answer.sequences
    assert (text.finish_reason, len(text.token_ids)) == ("eos_token", 3)
    last = text.tokens[-1]
    assert (last.id, last.text, last.is_special) == (EOS, "<eos>", True)


def test_a_stop_string_across_tokens_ends_the_text_and_stays_in_it(task: Generation) -> None:
    ids = character_tokenizer(LETTERS).encode("dab cab")
    answer = scripted(task, ids, SamplingOptions(stop=["b c", "zzz"], lists_tokens=True))
    assert answer.text == "dab c"
    assert answer.sequences[0].finish_reason == "stop_sequence"


def test_length_ends_the_text(task: Generation) -> None:
    answer = scripted(task, [4] * 9, SamplingOptions(max_new_tokens=6, lists_tokens=True))
    assert answer.text == "aaaaaa"
    assert (answer.sequences[0].finish_reason, len(answer.sequences[0].token_ids)) == ("length", 6)


def test_without_max_new_tokens_the_limit_of_the_bundle_holds(task: Generation) -> None:
    assert task.start("a", SamplingOptions()).max_new_tokens == 50
    assert Generation(letters_bundle(max_new_tokens=1000)).start("a", SamplingOptions()).max_new_tokens == 200


def test_events_count_from_one_and_add_up_to_the_text(task: Generation, runner: ElmanRunner) -> None:
    continuation = task.start("abc", sampling(3), Delivery(is_streamed=True))
    events = list(task.events(runner, continuation))
    answer = continuation.result()
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert [event.finish_reason for event in events[:-1]] == [None] * (len(events) - 1)
    assert "".join(event.token.text for event in events if not event.token.is_special) == answer.text
    assert answer == task.generate(runner, "abc", sampling(3))
    assert (answer.sequences[0].finish_reason, answer.sequences[0].tokens) == (
        events[-1].finish_reason,
        [event.token for event in events],
    )


def test_an_unfinished_text_has_no_answer(task: Generation) -> None:
    with pytest.raises(ValueError, match="not ended"):
        task.start("abc", SamplingOptions()).result()


def test_a_character_cut_by_the_length_limit_is_still_written() -> None:
    """With byte tokens, a partial character at the end becomes U+FFFD in the last event and in the text."""
    tokenizer = byte_tokenizer()
    task = Generation(bundle(GenerationOptions(unit="subword"), {"text": tokenizer}))
    runner = ScriptRunner(tokenizer.vocabulary_size, tokenizer.encode("\u20ac")[:2])
    continuation = task.start("a", SamplingOptions(max_new_tokens=2), Delivery(is_streamed=True))
    events = list(task.events(runner, continuation))
    assert [event.token.text for event in events] == ["", "\ufffd"]
    assert continuation.result().text == "\ufffd"


def test_tokens_are_listed_only_if_asked_for(task: Generation, runner: ElmanRunner) -> None:
    result = task.generate(runner, "abc", SamplingOptions(max_new_tokens=2, num_top_tokens=3))
    assert (result.prompt_tokens, result.sequences[0].tokens, result.sequences[0].top_tokens) == ([], [], [])


def test_top_tokens_list_the_best_of_each_step(task: Generation, runner: ElmanRunner) -> None:
    parameters = SamplingOptions(max_new_tokens=4, num_top_tokens=3, lists_tokens=True)
    (text,) = task.generate(runner, "abc", parameters).sequences
    for token, top in zip(text.tokens, text.top_tokens, strict=True):
        assert len(top) == 3
        assert top[0].id == token.id
        assert [item.log_probability for item in top] == sorted((item.log_probability for item in top), reverse=True)


def test_prompt_details_give_the_log_probability_of_the_prompt(task: Generation, runner: ElmanRunner) -> None:
    """Each prompt token is scored by the logits before it, also in a batch padded to a longer prompt."""
    parameters = SamplingOptions(max_new_tokens=1, lists_tokens=True)
    requests = [("abc", parameters), ("abcabcabc", parameters)]
    short, _ = generate_together(task, runner, requests, Delivery(prompt_logprobs=True))
    logits, _ = task.read(runner, [character_tokenizer(LETTERS).encode("abc")])
    rows = logits[0].astype(np.float64)
    expected = [rows[t, i] - np.log(np.exp(rows[t]).sum()) for t, i in enumerate([5, 6])]
    assert [token.text for token in short.prompt_tokens] == ["a", "b", "c"]
    assert short.prompt_tokens[0].log_probability is None
    assert [token.log_probability for token in short.prompt_tokens[1:]] == pytest.approx(expected, abs=1e-6)


def test_reading_in_two_parts_carries_the_state(task: Generation, runner: ElmanRunner) -> None:
    whole, _ = task.read(runner, [[4, 5, 6, 7, 8]])
    first, state = task.read(runner, [[4, 5]])
    second, _ = task.read(runner, [[6, 7, 8]], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)


def test_max_prompt_tokens_reads_only_the_end_of_a_long_prompt(task: Generation) -> None:
    stream = task.start("abcdefghij" * 20_000, SamplingOptions(max_prompt_tokens=4))
    assert stream.prompt_ids == character_tokenizer(LETTERS).encode("ghij")


@pytest.mark.parametrize(
    ("prompt", "parameters", "field", "message"),
    [
        ("", {}, ("inputs",), "empty"),
        ("  ", {}, ("inputs",), "empty"),
        ("a\ud800", {}, ("inputs",), "surrogate"),
        ("a" * 31, {}, ("inputs",), "31 tokens, this model takes at most 30"),
        ("a" * 1_000_000, {}, ("inputs",), "1000000 characters"),
        ("a", {"max_new_tokens": 51}, ("parameters", "max_new_tokens"), "at most 50"),
        ("a", {"max_prompt_tokens": 31}, ("parameters", "max_prompt_tokens"), "at most 30"),
    ],
)
def test_refused_requests_say_where_and_why(
    task: Generation, prompt: str, parameters: dict[str, Any], field: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        task.start(prompt, SamplingOptions(**parameters))
    assert caught.value.field == field


def test_several_texts_are_not_streamed(task: Generation) -> None:
    with pytest.raises(InvalidInput, match="one text") as caught:
        task.start("a", SamplingOptions(), Delivery(is_streamed=True, num_continuations=2))
    assert caught.value.field == ("n",)


@pytest.mark.parametrize("prompt", ["\0", "\N{GRINNING FACE}", "\u05e9\u05dc\u05d5\u05dd", "\u202eabc", "a\u0301"])
def test_any_unicode_prompt_is_answered(task: Generation, runner: ElmanRunner, prompt: str) -> None:
    parameters = SamplingOptions(max_new_tokens=3, lists_tokens=True)
    answer = task.generate(runner, prompt, parameters, Delivery(prompt_logprobs=True))
    assert len(answer.prompt_tokens) == len(prompt)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_fail(task: Generation, bad: float) -> None:
    def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {
            "logits": np.full((*feeds["token"].shape, VOCAB), bad, dtype=np.float32),
            STATE.next_name: feeds[STATE.name],
        }

    with pytest.raises(InferenceFailed, match="not finite"):
        task.generate(FunctionRunner(step=answer), "a", SamplingOptions())


def test_scores_of_another_vocabulary_fail(task: Generation) -> None:
    with pytest.raises(InferenceFailed, match="scores 3 tokens"):
        task.generate(ScriptRunner(3, [1]), "a", SamplingOptions())


@pytest.mark.parametrize("token_ids", [[], [-1], [VOCAB], [4, 4]])
def test_steps_never_feed_what_a_graph_cannot_read(runner: ElmanRunner, token_ids: list[int]) -> None:
    state = RecurrentState({STATE.name: np.zeros((1, 1, WIDTH), dtype=np.float32)})
    with pytest.raises(InferenceFailed):
        LanguageModel([STATE], VOCAB).step(runner, np.array(token_ids, dtype=np.int64), state)
