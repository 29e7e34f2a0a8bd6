"""Beam search over many sentences at once: rows are beams, and every array operation works on all of them.

Sentences join and leave between any two steps. They are independent: each has its own number of beams, length penalty
and limit, ties go to the earlier beam and then to the lower id, so a sentence finds the same hypothesis in any company.

Scores are `log p / ((5 + length) / 6) ** length_penalty` (Wu et al. 2016, eq. 14), where length counts every token that
has a log-probability, the end token too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.task import Array
from service.tasks.seq2seq.beam_rows import Extensions, Mask, Rows, Scores
from service.tasks.seq2seq.hypotheses import AttentionHistory, HypothesisSearch
from service.tasks.seq2seq.token_scores import largest_entries, log_normalisers, top_token


class RowReordering(NamedTuple):
    """The rows of the next step in terms of the last one's.

    Row i goes on from row `parents[i]`. Only the rows `moved` belong to another sentence than the row that had their
    number before, or had none.
    """

    parents: IntArray
    moved: IntArray


class StepResult(NamedTuple):
    """What a step meant: who is done, and which rows go on; None if all go on just where they are."""

    finished: list[HypothesisSearch]
    rearrangement: RowReordering | None


class BeamSearch:
    """The open hypotheses of all sentences. Those of one sentence lie side by side, best first.

    A step's best `num_beams` candidates are looked at: those that end are set aside, and the beam is filled up again.
    A sentence is done when `num_beams` hypotheses have ended, when no open one can beat the best of them, or after
    `max_steps`; an open hypothesis wins only if none has ended. With one beam this is greedy decoding, and done so.
    """

    def __init__(self) -> None:
        self._searches: list[HypothesisSearch] = []
        self._rows = Rows.fresh([], 0)

    @property
    def tokens(self) -> IntArray:
        """`[rows]`: what each row reads next."""
        return self._rows.tokens

    def join(self, searches: Sequence[HypothesisSearch]) -> None:
        """Append one row for each, in order."""
        self._rows = self._rows.joined(Rows.fresh(searches, len(self._searches)))
        self._searches += searches

    def leave(self, searches: Iterable[HypothesisSearch]) -> RowReordering | None:
        """Give up sentences that are not done; their rows are free."""
        for search in searches:
            search.is_done = True
        rows = self._rows
        everyone = Extensions(np.arange(len(rows.tokens)), rows.tokens, rows.totals)
        return self._go_on(everyone.where(~self._is_done(rows.sentences)))

    def advance(self, logits: Array, attention: Array) -> StepResult:
        """Take what a step computed for the rows: logits `[rows, vocab]`, attention `[rows, source time]`."""
        self._rows.num_steps[:] += 1
        scores = self._scores(logits)
        is_open = ~self._is_done(self._rows.sentences)
        is_greedy = self._rows.num_beams == 1
        greedy, in_beams = np.flatnonzero(is_open & is_greedy), np.flatnonzero(is_open & ~is_greedy)
        extensions = self._greedy(greedy, scores, attention)
        if len(in_beams):
            extensions = extensions.joined(self._beams(in_beams, scores, attention))
        self._look(extensions, attention)
        finished = [search for search in self._searches if search.is_done]
        return StepResult(finished, self._go_on(extensions, has_grown=True))

    def _scores(self, logits: Array) -> Scores:
        tokens, largest = top_token(logits, EOS)
        broken = np.flatnonzero(~(np.isfinite(largest) & np.isfinite(logits.min(axis=1))))
        if len(broken):
            return self._scores(self._without_failures(logits, broken))
        normalisers = np.zeros(len(logits))
        needed = np.flatnonzero(self._rows.is_scored)
        if len(needed) == len(logits):
            normalisers = log_normalisers(logits, largest)
        elif len(needed):
            normalisers[needed] = log_normalisers(logits[needed], largest[needed])
        return Scores(logits, tokens, normalisers)

    def _without_failures(self, logits: Array, broken: IntArray) -> Array:
        """The logits with finite stand-ins for the broken rows, whose sentences are given up."""
        for sentence in self._rows.sentences[broken]:
            self._searches[sentence].fail()
        logits = logits.copy()
        logits[broken] = 0
        return logits

    def _greedy(self, index: IntArray, scores: Scores, attention: Array) -> Extensions:
        """The rows of sentences with one beam: each goes on with its best token, or is done."""
        tokens = scores.tokens[index]
        totals = self._rows.totals[index] + scores.logits[index, tokens] - scores.normalisers[index]
        extensions = Extensions(index, tokens, totals)
        is_over = (tokens == EOS) | (self._rows.num_steps[index] >= self._rows.max_steps[index])
        if not is_over.any():
            return extensions
        for row, token, total in zip(*extensions.where(is_over), strict=True):
            self._end(int(row), int(token), float(total), attention)
            self._search_of(row).is_done = True
        return extensions.where(~is_over)

    def _beams(self, index: IntArray, scores: Scores, attention: Array) -> Extensions:
        """The rows of sentences with several beams: each sentence keeps the best extensions of all its rows."""
        candidates = self._candidates(index, scores)
        num_beams = self._rows.num_beams[candidates.parents]
        is_end = candidates.tokens == EOS
        for row, token, total in zip(*candidates.where(is_end & (self._ranks(candidates) < num_beams)), strict=True):
            self._end(int(row), int(token), float(total), attention)
        candidates, num_beams = candidates.where(~is_end), num_beams[~is_end]
        ranks = self._ranks(candidates)
        self._settle(index, candidates.where(ranks == 0), attention)
        return candidates.where((ranks < num_beams) & ~self._is_done(self._rows.sentences[candidates.parents]))

    def _candidates(self, index: IntArray, scores: Scores) -> Extensions:
        """Possible extensions, best first within each sentence; at least one more than it has beams.

        The end token may be among them, and the beam is filled up without it. The ids below it, padding, unknown and
        begin, are never produced.
        """
        logits = scores.logits if len(index) == len(scores.logits) else scores.logits[index]
        rows, columns = largest_entries(logits[:, EOS:], int(self._rows.num_beams[index].max()) + 1)
        parents, tokens = index[rows], columns + EOS
        totals = self._rows.totals[parents] + scores.logits[parents, tokens] - scores.normalisers[parents]
        order = np.lexsort((tokens, parents, -totals, self._rows.sentences[parents]))
        return Extensions(parents, tokens, totals).where(order)

    def _ranks(self, candidates: Extensions) -> IntArray:
        """0 for the best of its sentence, 1 for the next, and so on."""
        sentences = self._rows.sentences[candidates.parents]
        return np.arange(len(sentences)) - np.searchsorted(sentences, sentences)

    def _settle(self, index: IntArray, leaders: Extensions, attention: Array) -> None:
        """Note which sentences with several beams are done, given the best open hypothesis of each."""
        for sentence in set(self._rows.sentences[index].tolist()):
            self._searches[sentence].is_done = True  # unless it has an open hypothesis that may win
        for row, token, total in zip(*leaders, strict=True):
            search = self._search_of(row)
            is_last = bool(self._rows.num_steps[row] >= self._rows.max_steps[row])
            if is_last and search.best is None:
                self._end(int(row), int(token), float(total), attention)
            search.is_done = is_last or not search.may_improve(float(total))

    def _end(self, row: int, token: int, total: float, attention: Array) -> None:
        """Set a hypothesis aside that ended with this token."""
        num_steps = int(self._rows.num_steps[row])
        search = self._search_of(row)
        if search.is_better(total, num_steps):
            tokens = self._rows.written[row, : num_steps - 1].tolist()
            look = self._last_look(search, row)
            if token != EOS:
                tokens, look = [*tokens, token], search.looked(attention[row], look)
            search.keep(tokens, total, num_steps, look)
        search.num_ended += 1

    def _look(self, extensions: Extensions, attention: Array) -> None:
        """Remember where every open hypothesis looked, for the sentences that want to know."""
        for sentence, search in enumerate(self._searches):
            if search.plan.keeps_attention and not search.is_done:
                parents = extensions.parents[self._rows.sentences[extensions.parents] == sentence]
                search.looks = [search.looked(attention[row], self._last_look(search, row)) for row in parents]

    def _last_look(self, search: HypothesisSearch, row: int) -> AttentionHistory | None:
        """Where the hypothesis of this row looked before this step."""
        first = int(np.searchsorted(self._rows.sentences, self._rows.sentences[row]))
        return search.looks[row - first] if search.plan.keeps_attention else None

    def _go_on(self, extensions: Extensions, has_grown: bool = False) -> RowReordering | None:
        """Make the extensions the rows of the next step, and close the gaps of the sentences that are done."""
        before = self._rows
        numbers = self._close_gaps()[before.sentences[extensions.parents]]
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            extensions, numbers = extensions.where(order), numbers[order]
        parents = extensions.parents
        stays = np.array_equal(parents, np.arange(len(before.tokens)))
        rows = before if stays else before.taken(parents)
        self._rows = rows._replace(sentences=numbers, tokens=extensions.tokens, totals=extensions.totals)
        if has_grown:
            self._write()
        return None if stays else RowReordering(parents, _moved(before.sentences, parents))

    def _write(self) -> None:
        columns = self._rows.written.shape[1]
        if self._rows.num_steps.max(initial=0) > columns:
            self._rows = self._rows.widened(2 * columns)
        self._rows.written[np.arange(len(self._rows.tokens)), self._rows.num_steps - 1] = self._rows.tokens

    def _close_gaps(self) -> IntArray:
        """Drop sentences that are done; the new number of each of the others by its old one.

        The last ones move into the gaps, so that as few rows as possible change their place.
        """
        numbers = np.arange(len(self._searches))
        open_ones = [number for number, search in enumerate(self._searches) if not search.is_done]
        gaps = sorted(set(range(len(open_ones))) - set(open_ones))
        for gap, last in zip(gaps, reversed(open_ones), strict=False):
            numbers[last] = gap
            self._searches[gap] = self._searches[last]
        del self._searches[len(open_ones) :]
        return numbers

    def _is_done(self, sentences: IntArray) -> Mask:
        return np.array([search.is_done for search in self._searches], dtype=np.bool_)[sentences]

    def _search_of(self, row: int) -> HypothesisSearch:
        return self._searches[int(self._rows.sentences[row])]


def _moved(sentences: IntArray, parents: IntArray) -> IntArray:
    """The rows that serve another sentence after the rearrangement than before it; `sentences` is from before."""
    num_common = min(len(sentences), len(parents))
    moved = np.ones(len(parents), dtype=np.bool_)
    moved[:num_common] = sentences[parents[:num_common]] != sentences[:num_common]
    return np.flatnonzero(moved)
