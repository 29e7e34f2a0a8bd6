"""Greedy decoding of CTC against its definition, over any division of the steps, and from bytes."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from service.bundle.padding import FloatArray
from service.errors import StateRefused
from service.tasks.transcription.decoder import BLANK, Token
from service.tasks.transcription.greedy_ctc import BestPath, GreedyCtc
from tests.tasks.transcription.builders import NO_RUNNER, log_probs_of, random_log_probs

VOCABULARY = 7
DECODER = GreedyCtc(VOCABULARY)


def decoded_at_once(row: FloatArray) -> list[Token]:
    """The definition: the best token of each step, runs written once, blanks left out."""
    tokens, step = [], 0
    for token_id, run in groupby(row.argmax(axis=1).tolist()):
        length = len(list(run))
        if token_id != BLANK:
            tokens.append(Token(token_id, step, float(row[step : step + length, token_id].max())))
        step += length
    return tokens


def advance(path: BestPath, row: FloatArray) -> BestPath:
    return DECODER.advance(NO_RUNNER, [path], [row])[0]


@pytest.mark.parametrize("seed", range(20))
def test_any_division_of_the_steps_beside_any_strangers_gives_the_same_path(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = [random_log_probs(generator, int(generator.integers(1, 40)), VOCABULARY) for _ in range(5)]
    wholes = DECODER.advance(NO_RUNNER, [DECODER.start()] * len(rows), rows)
    assert [list(whole.tokens) for whole in wholes] == [decoded_at_once(row) for row in rows]
    paths, places = [DECODER.start()] * len(rows), [0] * len(rows)
    while live := [row for row in range(len(rows)) if places[row] < len(rows[row])]:
        ends = [places[row] + int(generator.integers(1, 6)) for row in live]
        pieces = [rows[row][places[row] : end] for row, end in zip(live, ends, strict=True)]
        advanced = DECODER.advance(NO_RUNNER, [paths[row] for row in live], pieces)
        for row, end, path in zip(live, ends, advanced, strict=True):
            places[row], paths[row] = end, DECODER.from_bytes(DECODER.to_bytes(path), 1000)
    assert paths == wholes


def test_quiet_steps_are_those_since_the_last_token_and_a_token_that_lasts_is_not_quiet() -> None:
    path = advance(DECODER.start(), log_probs_of([0, 0, 4], VOCABULARY))
    assert DECODER.best(path, False).num_quiet == 0
    path = advance(path, log_probs_of([4, 0, 0], VOCABULARY))
    assert (DECODER.best(path, False).num_quiet, path.num_steps, len(path.tokens)) == (2, 6, 1)
    assert DECODER.best(advance(path, log_probs_of([0], VOCABULARY)), False).num_quiet == 3


def test_an_utterance_cut_within_a_token_does_not_write_it_twice() -> None:
    cut = DECODER.next_utterance(advance(DECODER.start(), log_probs_of([4, 4], VOCABULARY)))
    assert advance(cut, log_probs_of([4, 4, 0], VOCABULARY)).tokens == ()
    assert len(advance(cut, log_probs_of([4, 0, 4], VOCABULARY)).tokens) == 1


def _words(*numbers: int) -> bytes:
    return np.array(numbers, "<u4").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 11,
        b"\x00" * 13,
        _words(VOCABULARY, 1, 0),
        _words(0, 1, 2),
        _words(0, 101, 0),
        _words(4, 2, 0, VOCABULARY, 0, 0),
        _words(4, 2, 0, BLANK, 0, 0),
        _words(4, 2, 0, 4, 2, 0),
        _words(4, 3, 0, 4, 1, 0, 4, 0, 0),
        _words(4, 2, 0, 4, 1) + np.float32("nan").tobytes(),
        _words(4, 2, 0, 4, 1) + np.float32(0.5).tobytes(),
    ],
)
def test_bytes_that_are_no_path_are_refused(data: bytes) -> None:
    with pytest.raises(StateRefused):
        DECODER.from_bytes(data, 100)
