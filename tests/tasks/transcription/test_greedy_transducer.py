"""Greedy decoding of a transducer against its definition, over any division of the steps, in batches, and as bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.bundle.tokenizer import BOS
from service.errors import InferenceFailed, StateRefused
from service.tasks.core.task import Array
from service.tasks.transcription.decoder import BLANK, Token
from service.tasks.transcription.greedy_transducer import LOOK_AHEAD, GreedyTransducer
from tests.tasks.transcription.tiny_transducer import HIDDEN, PREDICTOR, VOCABULARY, WIDTH, TinyTransducer

MAX_SYMBOLS = 3
DECODER = GreedyTransducer(PREDICTOR, VOCABULARY, MAX_SYMBOLS)


def random_rows(seed: int, num_rows: int = 5) -> list[Array]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 4 * LOOK_AHEAD, num_rows)
    return [random.normal(size=(size, WIDTH)).astype(np.float32) * 1.5 for size in sizes]


def decoded_step_by_step(runner: TinyTransducer, row: Array) -> list[Token]:
    """The definition: at each step write the best token and run the predictor, until the best token is the blank."""
    outputs = runner.run("predictor", {"token": np.array([BOS]), "predictor_hidden": np.zeros((1, 1, HIDDEN))})
    tokens = []
    for step, encoded in enumerate(row):
        for _ in range(MAX_SYMBOLS):
            feeds = {"encoded": encoded[None], "predicted": outputs["predicted"]}
            (log_probs,) = runner.run("joint", feeds)["log_probs"]
            best = int(log_probs.argmax())
            if best == BLANK:
                break
            tokens.append(Token(best, step, float(log_probs[best])))
            state = outputs["next_predictor_hidden"]
            outputs = runner.run("predictor", {"token": np.array([best]), "predictor_hidden": state})
    return tokens


def assert_equal(found: Sequence[Token], expected: Sequence[Token]) -> None:
    """Equal tokens at equal steps; sums in another order may differ in the last bits."""
    assert [token[:2] for token in found] == [token[:2] for token in expected]
    np.testing.assert_allclose([t.log_prob for t in found], [t.log_prob for t in expected], atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_any_division_of_the_steps_beside_any_strangers_gives_the_tokens_of_the_definition(seed: int) -> None:
    runner, random, rows = TinyTransducer(seed), np.random.default_rng(seed), random_rows(seed)
    expected = [decoded_step_by_step(runner, row) for row in rows]
    assert any(expected)
    for whole, tokens in zip(DECODER.advance(runner, [DECODER.start()] * len(rows), rows), expected, strict=True):
        assert_equal(whole.tokens, tokens)
    paths, places = [DECODER.start()] * len(rows), [0] * len(rows)
    while live := [row for row in range(len(rows)) if places[row] < len(rows[row])]:
        ends = [places[row] + int(random.integers(1, 6)) for row in live]
        pieces = [rows[row][places[row] : end] for row, end in zip(live, ends, strict=True)]
        advanced = DECODER.advance(runner, [paths[row] for row in live], pieces)
        for row, end, path in zip(live, ends, advanced, strict=True):
            places[row], paths[row] = end, DECODER.from_bytes(DECODER.to_bytes(path), 1000)
    for path, row, tokens in zip(paths, rows, expected, strict=True):
        assert_equal(path.tokens, tokens)
        assert path.num_steps == len(row)


def test_a_step_writes_at_most_as_many_tokens_as_are_allowed() -> None:
    """A network that never gives the blank ends, with that number of tokens at each step."""
    (whole,) = DECODER.advance(TinyTransducer(1, blank_bias=-1e3), [DECODER.start()], random_rows(1, 1))
    steps = [token.step for token in whole.tokens]
    assert steps == [step for step in range(whole.num_steps) for _ in range(MAX_SYMBOLS)]
    assert DECODER.best(whole, True).num_quiet == 0


def test_silence_costs_one_run_for_many_steps_and_for_all_streams() -> None:
    """Streams that write nothing: one run of the predictor for their start, then none until a token is written."""
    runner = TinyTransducer(2)
    rows = [runner.silence(2 * LOOK_AHEAD)] * 4
    quiet = DECODER.advance(runner, [DECODER.start()] * 4, rows)
    assert runner.runs == {"predictor": 1, "joint": 2}
    assert runner.rows == {"predictor": 1, "joint": 4 * 2 * LOOK_AHEAD}
    again = DECODER.advance(runner, quiet, rows)
    assert runner.runs == {"predictor": 1, "joint": 4}
    assert [DECODER.best(path, False).num_quiet for path in again] == [4 * LOOK_AHEAD] * 4


def test_only_the_streams_that_wrote_run_the_predictor() -> None:
    """One loud stream beside three silent ones: each of its tokens is one row of one run."""
    runner = TinyTransducer(3)
    (loud,) = random_rows(3, 1)
    silent = runner.silence(len(loud))
    found, *others = DECODER.advance(runner, [DECODER.start()] * 4, [loud, silent, silent, silent])
    assert found.tokens
    assert not any(other.tokens for other in others)
    assert runner.rows["predictor"] == 1 + len(found.tokens)


def test_an_utterance_that_follows_another_starts_anew() -> None:
    runner, (row,) = TinyTransducer(4), random_rows(4, 1)
    (first,) = DECODER.advance(runner, [DECODER.start()], [row])
    (second,) = DECODER.advance(runner, [DECODER.next_utterance(first)], [row])
    assert DECODER.to_bytes(second) == DECODER.to_bytes(first)


def test_numbers_that_are_not_finite_reach_no_answer() -> None:
    with pytest.raises(InferenceFailed, match="not finite"):
        DECODER.advance(TinyTransducer(5), [DECODER.start()], [np.full((2, WIDTH), np.nan, np.float32)])


def _valid_bytes() -> bytes:
    (path,) = DECODER.advance(TinyTransducer(6), [DECODER.start()], random_rows(6, 1))
    assert path.tokens
    return DECODER.to_bytes(path)


def test_the_start_travels_as_bytes_too() -> None:
    start = DECODER.from_bytes(DECODER.to_bytes(DECODER.start()), 0)
    assert (start.tokens, start.num_steps, start.prediction) == ((), 0, None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[: 8 + 4 * WIDTH],
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: np.array([1001, 1], "<u4").tobytes() + data[8:],
        lambda data: np.array([5, 2], "<u4").tobytes() + data[8:],
        lambda data: np.array([5, 0], "<u4").tobytes() + data[8:],
        lambda data: np.array([0, 1], "<u4").tobytes() + data[8:],
        lambda data: data[:8] + np.float32("nan").tobytes() + data[12:],
        lambda data: data[:-12] + np.array([VOCABULARY, 0], "<u4").tobytes() + data[-4:],
        lambda data: data[:-12] + np.array([1, 10**6], "<u4").tobytes() + data[-4:],
    ],
)
def test_bytes_that_are_no_alignment_are_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(StateRefused):
        DECODER.from_bytes(damage(_valid_bytes()), 1000)
