"""Greedy decoding of CTC: the best token of each step, runs of the same one written once, blanks left out.

Graves et al. 2006, section 3.2 (best path decoding). The steps of all streams are decoded by the same few numpy calls.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.padding import FloatArray, IntArray
from service.tasks.core.state_bytes import malformed
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import (
    BLANK,
    Decoded,
    Token,
    tokens_from_bytes,
    tokens_to_bytes,
)

#: The best token of the last step, the steps so far, and the steps since one that was not blank.
_COUNTS = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class BestPath:
    """The best path so far: its tokens, the best token of its last step, and its numbers of steps."""

    tokens: tuple[Token, ...] = ()
    last_id: int = BLANK
    num_steps: int = 0
    num_quiet: int = 0


class GreedyCtc:
    """A `Decoder` that follows the single best path."""

    name = "greedy ctc"

    def __init__(self, vocabulary_size: int) -> None:
        self._vocabulary_size = vocabulary_size

    def start(self) -> BestPath:
        return BestPath()

    def next_utterance(self, hypotheses: BestPath) -> BestPath:
        return BestPath(last_id=hypotheses.last_id)

    def advance(self, runner: Runner, hypotheses: Sequence[BestPath], rows: Sequence[Array]) -> list[BestPath]:
        ends = np.cumsum([len(row) for row in rows])
        starts = np.concatenate(([0], ends[:-1]))
        steps = np.concatenate(rows) if len(rows) > 1 else rows[0]
        ids = steps.argmax(axis=1)
        peaks = np.minimum(steps[np.arange(len(ids)), ids], 0.0).astype(np.float32)
        runs = _runs(ids, peaks, starts)
        places = runs.starts.searchsorted(np.concatenate((starts, ends[-1:])))
        firsts, run_ids, run_peaks = runs.starts.tolist(), runs.ids.tolist(), runs.peaks.tolist()
        return [
            _extended(path, firsts[first:end], run_ids[first:end], run_peaks[first:end], start, stop)
            for path, first, end, start, stop in zip(
                hypotheses, places[:-1].tolist(), places[1:].tolist(), starts.tolist(), ends.tolist(), strict=True
            )
        ]

    def best(self, hypotheses: BestPath, is_final: bool) -> Decoded:
        return Decoded(hypotheses.tokens, hypotheses.num_quiet)

    def to_bytes(self, hypotheses: BestPath) -> bytes:
        counts = _COUNTS.pack(hypotheses.last_id, hypotheses.num_steps, hypotheses.num_quiet)
        return counts + tokens_to_bytes(hypotheses.tokens)

    def from_bytes(self, data: bytes, max_steps: int) -> BestPath:
        if len(data) < _COUNTS.size:
            raise malformed(f"its best path has {len(data)} bytes, at least {_COUNTS.size} belong")
        last_id, num_steps, num_quiet = _COUNTS.unpack_from(data)
        if last_id >= self._vocabulary_size or not num_quiet <= num_steps <= max_steps:
            raise malformed(f"no best path has {num_steps} steps, {num_quiet} of them quiet, and ends with {last_id}")
        tokens = tokens_from_bytes(data[_COUNTS.size :], self._vocabulary_size, num_steps)
        return BestPath(tokens, last_id, num_steps, num_quiet)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Steps with the same best token within one row: where each run starts, its token, and its highest value."""

    starts: IntArray
    ids: IntArray
    peaks: FloatArray


def _runs(ids: IntArray, peaks: FloatArray, row_starts: IntArray) -> _Runs:
    """The runs of all rows, which stand one after the other."""
    is_start = np.ones(len(ids), dtype=bool)
    is_start[1:] = ids[1:] != ids[:-1]
    is_start[row_starts] = True
    starts = np.flatnonzero(is_start)
    return _Runs(starts, ids[starts], np.maximum.reduceat(peaks, starts))


def _extended(path: BestPath, firsts: list[int], ids: list[int], peaks: list[float], start: int, stop: int) -> BestPath:
    """A path with the runs of the steps `start` to `stop`, of which the first may continue its last token."""
    tokens, offset, last_id = list(path.tokens), path.num_steps - start, path.last_id
    for first, token_id, peak in zip(firsts, ids, peaks, strict=True):
        if token_id != BLANK and token_id != last_id:
            tokens.append(Token(token_id, first + offset, peak))
        elif token_id != BLANK and tokens and peak > tokens[-1].log_prob:
            tokens[-1] = tokens[-1]._replace(log_prob=peak)
        last_id = token_id
    if last_id != BLANK:
        num_quiet = 0
    else:
        num_quiet = stop - firsts[-1] + (path.num_quiet if len(firsts) == 1 else 0)
    return BestPath(tuple(tokens), last_id, path.num_steps + stop - start, num_quiet)
