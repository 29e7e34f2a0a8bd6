"""Keyword spotting over the outputs of CTC: a detector that runs beside decoding, over streams without end.

Each keyword is aligned with the steps by the Viterbi recursion of CTC, beginning anywhere. A step that writes a token
of the keyword costs the log-probability of that token; any other step costs what its token lacks to the best one of the
step, the filler, so that silence and long tokens cost nothing. The confidence is the geometric mean over the tokens.

A keyword is made of whole words: what comes after it begins another word, or is a pause. It is told when it has ended,
once for each occurrence. Silence between its tokens costs nothing up to a longest pause; what was begun before a longer
one is given up, so that two words that are seconds apart are not one keyword of two words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import Array, FloatArray
from service.tasks.core.state_bytes import malformed
from service.tasks.transcription.decoder import BLANK, FoundKeyword

_NEVER = -1e9
_FLOAT, _INT = np.dtype("<f8"), np.dtype("<i4")
#: A step whose blank has more is passed over.
_CERTAIN_BLANK = float(np.log(0.995))
#: A blank between words that has less is none.
_LEAST_SPACE = float(np.log(0.05))


class Keyword(NamedTuple):
    """A keyword as it was asked for, and its tokens, at least one."""

    name: str
    token_ids: tuple[int, ...]


class SpotterState(NamedTuple):
    """Where all keywords are. It is never changed.

    Attributes:
        in_token: `[keywords, tokens]`: scores of the best alignment that ends in each token, and `in_blank` in a blank
            after it.
        step_in_token: where that alignment wrote the token, and `step_in_blank` likewise.
        opening: the score of a word that begins next.
        top_id: the best token of the last step.
        num_quiet: steps since one whose best token was not the blank; counted up to the longest pause.
        num_steps: steps so far.
    """

    in_token: Array
    in_blank: Array
    step_in_token: Array
    step_in_blank: Array
    opening: float = 0.0
    top_id: int = BLANK
    num_quiet: int = 0
    num_steps: int = 0


class KeywordSpotter:
    """Detects the keywords of a request. It is immutable; its states are values of one size."""

    def __init__(
        self,
        keywords: Sequence[Keyword],
        threshold: float,
        begins_word: Array,
        space_id: int | None = None,
        pause_steps: int = 8,
        longest_pause_steps: int = 24,
    ) -> None:
        """Prepare the recursion.

        Args:
            keywords: at least one.
            threshold: least confidence, 0 to 1.
            begins_word: bool `[vocabulary]`: tokens with which one word ends, and another begins.
            space_id: the token between words, for models that write one.
            pause_steps: steps without a token that end a word as well.
            longest_pause_steps: steps without a token that no keyword goes on after; `pause_steps` at least.
        """
        self.keywords = tuple(keywords)
        self._least = float(np.log(max(threshold, 1e-6)))
        self._begins_word = begins_word
        self._space_id = space_id
        self._pause = pause_steps
        self._longest_pause = max(longest_pause_steps, pause_steps)
        self._num_tokens = np.array([len(keyword.token_ids) for keyword in keywords])
        shape = len(keywords), int(self._num_tokens.max())
        self._ids = np.zeros(shape, dtype=np.int64)
        for row, keyword in enumerate(keywords):
            self._ids[row, : len(keyword.token_ids)] = keyword.token_ids
        self._is_repeated = self._ids[:, 1:] == self._ids[:, :-1]
        self._rows = np.arange(len(keywords))
        self._last_ids = self._ids[self._rows, self._num_tokens - 1]

    def start(self) -> SpotterState:
        """Before the first step."""
        never, zeros = np.full(self._ids.shape, _NEVER), np.zeros(self._ids.shape, dtype=np.int64)
        return SpotterState(never, never, zeros, zeros, num_quiet=self._longest_pause)

    def advance(self, before: SpotterState, log_probs: Array) -> tuple[SpotterState, list[FoundKeyword]]:
        """Read steps `[steps, vocabulary]`; returns the keywords that have ended in them."""
        found: list[FoundKeyword] = []
        state = before
        for row in log_probs.astype(np.float64):
            state = self._read(state, row, found)
        return state, found

    def at_end(self, state: SpotterState) -> list[FoundKeyword]:
        """The keywords that end if no step follows."""
        return self._ended(state, 0.0)[1]

    def shifted(self, state: SpotterState) -> SpotterState:
        """The state without what `at_end` tells, and with steps counted anew from here."""
        left = self._ended(state, 0.0)[0]
        steps = left.step_in_token - state.num_steps, left.step_in_blank - state.num_steps
        return left._replace(step_in_token=steps[0], step_in_blank=steps[1], num_steps=0)

    def _read(self, state: SpotterState, row: FloatArray, found: list[FoundKeyword]) -> SpotterState:
        """The state after one step; what ends in it is added to `found`."""
        top_id = int(row.argmax())
        if top_id != BLANK and top_id != state.top_id and self._begins_word[top_id]:
            state = self._tell(state, 0.0, found, top_id)
        elif self._space_id is not None and top_id != self._space_id and row[self._space_id] > _LEAST_SPACE:
            state = self._tell(state, float(row[self._space_id]), found)
        after = self._passed_over(state) if row[BLANK] > _CERTAIN_BLANK else self._aligned(state, row, row[top_id])
        num_quiet = 0 if top_id != BLANK else min(state.num_quiet + 1, self._longest_pause)
        is_pause = num_quiet >= self._pause
        opening = 0.0 if is_pause else self._opening(state.opening, row, top_id)
        after = after._replace(opening=opening, top_id=top_id, num_quiet=num_quiet, num_steps=state.num_steps + 1)
        after = self._tell(after, 0.0, found) if is_pause else after
        return self._given_up(after) if num_quiet == self._longest_pause else after

    def _given_up(self, state: SpotterState) -> SpotterState:
        """After a longest pause: without what was written before it. What may have begun within it goes on."""
        since = state.num_steps - self._longest_pause
        return state._replace(
            in_token=np.where(state.step_in_token < since, _NEVER, state.in_token),
            in_blank=np.where(state.step_in_blank < since, _NEVER, state.in_blank),
        )

    def _tell(
        self, state: SpotterState, cost: float, found: list[FoundKeyword], sounding_id: int = BLANK
    ) -> SpotterState:
        state, ended = self._ended(state, cost, sounding_id)
        found += ended
        return state

    def _ended(
        self, state: SpotterState, cost: float, sounding_id: int = BLANK
    ) -> tuple[SpotterState, list[FoundKeyword]]:
        """Keywords that end here at a cost, but for those whose last token still sounds; and the state without them."""
        place = self._rows, self._num_tokens - 1
        in_token, in_blank = state.in_token[place], state.in_blank[place]
        scores = (np.maximum(in_token, in_blank) + cost) / self._num_tokens
        still_sounds = (self._last_ids == sounding_id) & (in_token >= in_blank)
        hits = np.flatnonzero((scores >= self._least) & ~still_sounds)
        if not len(hits):
            return state, []
        steps = np.where(in_token >= in_blank, state.step_in_token[place], state.step_in_blank[place])
        found = [
            FoundKeyword(self.keywords[hit].name, max(int(steps[hit]), 0), float(np.exp(min(scores[hit], 0.0))))
            for hit in hits
        ]
        in_token, in_blank = state.in_token.copy(), state.in_blank.copy()
        in_token[hits], in_blank[hits] = _NEVER, _NEVER
        return state._replace(in_token=in_token, in_blank=in_blank), found

    def _opening(self, before: float, row: FloatArray, top_id: int) -> float:
        """The score of a word that begins after this step: words begin after a blank, where the model writes one."""
        if self._space_id is None or top_id == self._space_id:
            return 0.0
        waits = before + float(max(row[self._space_id], row[BLANK]) - row[top_id])
        return max(waits, float(row[self._space_id]))

    def _passed_over(self, state: SpotterState) -> SpotterState:
        """After a step that is blank beyond doubt."""
        is_later = state.in_token > state.in_blank
        if not is_later.any():
            return state
        return state._replace(
            in_token=np.full_like(state.in_token, _NEVER),
            in_blank=np.where(is_later, state.in_token, state.in_blank),
            step_in_blank=np.where(is_later, state.step_in_token, state.step_in_blank),
        )

    def _aligned(self, state: SpotterState, row: FloatArray, best: float) -> SpotterState:
        """After a step: each token goes on, or is written after the one before it or its blank."""
        of_tokens = row[self._ids]
        enters = np.empty_like(state.in_token)
        enters[:, 0] = state.opening
        enters[:, 1:] = np.maximum(state.in_blank[:, :-1], np.where(self._is_repeated, _NEVER, state.in_token[:, :-1]))
        enters += of_tokens
        stays = state.in_token + (of_tokens - best)
        is_new = enters > stays
        is_later = state.in_token > state.in_blank
        return state._replace(
            in_token=np.maximum(np.where(is_new, enters, stays), _NEVER),
            step_in_token=np.where(is_new, state.num_steps, state.step_in_token),
            in_blank=np.maximum(np.where(is_later, state.in_token, state.in_blank) + (row[BLANK] - best), _NEVER),
            step_in_blank=np.where(is_later, state.step_in_token, state.step_in_blank),
        )

    @property
    def num_bytes(self) -> int:
        """The length of `to_bytes`."""
        return _FLOAT.itemsize + 3 * _INT.itemsize + 2 * self._ids.size * (_FLOAT.itemsize + _INT.itemsize)

    def to_bytes(self, state: SpotterState) -> bytes:
        """Equal states give equal bytes."""
        floats = np.concatenate(([state.opening], state.in_token.ravel(), state.in_blank.ravel()))
        counts = [state.top_id, state.num_quiet, state.num_steps]
        steps = np.concatenate((counts, state.step_in_token.ravel(), state.step_in_blank.ravel()))
        return floats.astype(_FLOAT).tobytes() + steps.astype(_INT).tobytes()

    def from_bytes(self, data: bytes) -> SpotterState:
        """The inverse of `to_bytes`. Raises StateRefused."""
        if len(data) != self.num_bytes:
            raise malformed("it was made with other keywords: they stay the same as long as a stream goes on")
        size, shape = self._ids.size, self._ids.shape
        floats = np.frombuffer(data, _FLOAT, 1 + 2 * size)
        numbers = np.frombuffer(data, _INT, 3 + 2 * size, floats.nbytes).astype(np.int64)
        top_id, num_quiet, num_steps = numbers[:3].tolist()
        is_counted = 0 <= top_id < len(self._begins_word) and 0 <= num_quiet <= self._longest_pause and num_steps >= 0
        if not is_counted or not np.isfinite(floats).all() or (numbers[3:] > num_steps).any():
            raise malformed("the scores of its keywords are not finite, or of no step")
        in_token, in_blank = floats[1 : 1 + size].reshape(shape), floats[1 + size :].reshape(shape)
        steps = numbers[3 : 3 + size].reshape(shape), numbers[3 + size :].reshape(shape)
        return SpotterState(in_token, in_blank, *steps, float(floats[0]), top_id, num_quiet, num_steps)
