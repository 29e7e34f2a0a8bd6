"""Beam search over many sentences at once: rows are beams, and every array operation works on all of them.

Sentences join and leave between any two steps. They are independent: each has its own number of beams, length penalty
and limit, ties go to the earlier beam and then to the lower id, so a sentence finds the same hypothesis in any company.

Two steps of sentence 0 with two beams and sentence 1 with one beam (greedy). A row is written `sentence: tokens`, and
log-probabilities stand in brackets:

    rows before step 1    0:            1:
    candidates            0: a [-0.3], b [-1.5], end [-2.0]     1: x
    rows after            0: a    0: b    1: x
                          A sentence starts with one row, and gets its beams from that row's best candidates. Rows 0 and
                          1 continue row 0, row 2 continues row 1: parents [0, 0, 1]. Row 1 served sentence 1 before and
                          serves sentence 0 now, and row 2 is new: moved [1, 2].
    candidates            0: a c [-0.5], a end [-0.9], b c [-1.7]     1: x end
    rows after            0: a c    0: b c
                          "a" ended among the best two of sentence 0: it is kept as a finished hypothesis, and the next
                          candidate fills the beam. Sentence 1 is done with "x", and its row is freed: parents [0, 1].

Steps of the decoder need the same rearrangement: `parents` for the recurrent state, `moved` for the encoder memory,
which all beams of a sentence share.

Scores are `log p / ((5 + length) / 6) ** length_penalty` (Wu et al. 2016, eq. 14), where length counts every token that
has a log-probability, the end token too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.task import Array
from service.tasks.seq2seq.beam_rows import Extensions, Mask, Rows, Scores
from service.tasks.seq2seq.copying import CopyStep
from service.tasks.seq2seq.grammar.parse_stack import ParseStack
from service.tasks.seq2seq.hypotheses import AttentionHistory, HypothesisSearch
from service.tasks.seq2seq.token_scores import largest_entries, log_normalisers, top_token


class RowReordering(NamedTuple):
    """Where the rows of the next step come from.

    Row i continues row `parents[i]`. `moved` are the rows that belong to another sentence than the row with the same
    number before, and those with a number that no row had.
    """

    parents: IntArray
    moved: IntArray


class StepResult(NamedTuple):
    """The sentences that a step has finished, and the rows that continue; None if all continue in place."""

    finished: list[HypothesisSearch]
    rearrangement: RowReordering | None


class BeamSearch:
    """The open hypotheses of all sentences.

    Of each sentence's candidates the best `num_beams` are considered: those that end are kept as finished hypotheses,
    and the next best fill the beam. A sentence is done when `num_beams` hypotheses have ended, when no open one can
    beat the best of them, or after `max_steps`; an open hypothesis wins only if none has ended. With one beam this is
    greedy decoding, and implemented as that.

    Invariants between two steps: the rows of a sentence are adjacent and ordered, best first; row numbers of sentences
    ascend; `_searches[n]` is the sentence numbered n in `_rows.sentences`, and none of them is done.
    """

    def __init__(self) -> None:
        self._searches: list[HypothesisSearch] = []
        self._rows = Rows.fresh([], 0)
        self._copying: CopyStep | None = None

    @property
    def tokens(self) -> IntArray:
        """`[rows]`: the token that each row reads next."""
        return self._rows.tokens

    def join(self, searches: Sequence[HypothesisSearch]) -> None:
        """Append one row for each sentence, in order."""
        self._rows = self._rows.joined(Rows.fresh(searches, len(self._searches)))
        self._searches += searches

    def leave(self, searches: Iterable[HypothesisSearch]) -> RowReordering | None:
        """Abandon sentences that are not done, and free their rows."""
        for search in searches:
            search.is_done = True
        rows = self._rows
        everyone = Extensions(np.arange(len(rows.tokens)), rows.tokens, rows.totals)
        return self._go_on(everyone.where(~self._is_done(rows.sentences)))

    def advance(self, logits: Array, attention: Array, copying: CopyStep | None = None) -> StepResult:
        """Process the logits `[rows, vocab]` and the attention `[rows, source time]` of a step.

        With `copying`, its scores are the logits, and the tokens found remember where they were copied from.
        """
        self._copying = copying
        self._rows.num_steps[:] += 1
        # A row whose numbers are not finite fails its sentence here, so `is_open` is taken after the scores.
        scores = self._scores(logits)
        is_open = ~self._is_done(self._rows.sentences)
        is_greedy = self._rows.num_beams == 1
        greedy, in_beams = np.flatnonzero(is_open & is_greedy), np.flatnonzero(is_open & ~is_greedy)
        extensions = self._greedy(greedy, scores, attention)
        if len(in_beams):
            extensions = extensions.joined(self._beams(in_beams, scores, attention))
        self._record_attention(extensions, attention)
        self._record_parses(extensions)
        finished = [search for search in self._searches if search.is_done]
        return StepResult(finished, self._go_on(extensions, has_grown=True))

    def _scores(self, logits: Array) -> Scores:
        tokens, largest = top_token(logits, EOS)
        # Largest and smallest are finite if all are: NaN and infinity show in one of them, and no mask is needed.
        broken = np.flatnonzero(~(np.isfinite(largest) & np.isfinite(logits.min(axis=1))))
        if len(broken):
            return self._scores(self._without_failures(logits, broken))
        # Greedy decoding without a score compares logits of one row only, so their normaliser does not matter.
        normalisers = np.zeros(len(logits))
        needed = np.flatnonzero(self._rows.is_scored)
        if len(needed) == len(logits):
            normalisers = log_normalisers(logits, largest)
        elif len(needed):
            normalisers[needed] = log_normalisers(logits[needed], largest[needed])
        return self._constrained(Scores(logits, tokens, normalisers))

    def _constrained(self, scores: Scores) -> Scores:
        """The scores without tokens after which the text of a constrained sentence could not parse any more.

        Their logits are minus infinity; those that stay have the probability that the model gives them.
        """
        if all(search.plan.constraint is None for search in self._searches):
            return scores
        logits, tokens = scores.logits.copy(), scores.tokens.copy()
        num_left = (self._rows.max_steps - self._rows.num_steps + 1).tolist()
        for row, (search, beam) in enumerate(self._beams_of_rows(np.arange(len(tokens)))):
            if search.plan.constraint is not None and not search.is_done:
                allowed = search.plan.constraint.allowed(search.parses[beam], num_left[row], logits.shape[1])
                np.copyto(logits[row], -np.inf, where=~allowed)
                tokens[row] = logits[row].argmax()
        return Scores(logits, tokens, scores.normalisers)

    def _record_parses(self, extensions: Extensions) -> None:
        """Read the newest token of every open hypothesis of the constrained sentences."""
        if all(search.plan.constraint is None for search in self._searches):
            return
        following: dict[HypothesisSearch, list[ParseStack]] = {}
        for (search, beam), token in zip(
            self._beams_of_rows(extensions.parents), extensions.tokens.tolist(), strict=True
        ):
            if search.plan.constraint is not None:
                stack = search.plan.constraint.after(search.parses[beam], token)
                following.setdefault(search, []).append(stack)
        for search, parses in following.items():
            search.parses = parses

    def _beams_of_rows(self, rows: IntArray) -> Iterator[tuple[HypothesisSearch, int]]:
        """The search of each row, and which of its beams the row is."""
        sentences = self._rows.sentences[rows]
        beams = rows - np.searchsorted(self._rows.sentences, sentences)
        return (
            (self._searches[sentence], beam) for sentence, beam in zip(sentences.tolist(), beams.tolist(), strict=True)
        )

    def _without_failures(self, logits: Array, broken: IntArray) -> Array:
        """The logits with zeros in the broken rows, whose sentences fail."""
        for sentence in self._rows.sentences[broken]:
            self._searches[sentence].fail()
        logits = logits.copy()
        logits[broken] = 0
        return logits

    def _greedy(self, index: IntArray, scores: Scores, attention: Array) -> Extensions:
        """Extend the rows of sentences with one beam by their best token; return those that are not done."""
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
        """Extend sentences with several beams by the best candidates of all their rows; return those that stay open."""
        candidates = self._candidates(index, scores)
        num_beams = self._rows.num_beams[candidates.parents]
        is_end = candidates.tokens == EOS
        for row, token, total in zip(*candidates.where(is_end & (self._ranks(candidates) < num_beams)), strict=True):
            self._end(int(row), int(token), float(total), attention)
        # Candidates that ended beyond the best `num_beams` are dropped, neither finished nor continued.
        candidates, num_beams = candidates.where(~is_end), num_beams[~is_end]
        ranks = self._ranks(candidates)
        self._settle(index, candidates.where(ranks == 0), attention)
        return candidates.where((ranks < num_beams) & ~self._is_done(self._rows.sentences[candidates.parents]))

    def _candidates(self, index: IntArray, scores: Scores) -> Extensions:
        """Candidates, best first within each sentence; at least one more than it has beams, if so many are allowed.

        Each row has one end token, so of the best `num_beams + 1` of a row at least `num_beams` continue. The ids below
        the end token, padding, unknown and begin, are never produced.
        """
        logits = scores.logits if len(index) == len(scores.logits) else scores.logits[index]
        rows, columns = largest_entries(logits[:, EOS:], int(self._rows.num_beams[index].max()) + 1)
        parents, tokens = index[rows], columns + EOS
        totals = self._rows.totals[parents] + scores.logits[parents, tokens] - scores.normalisers[parents]
        # Sorted by sentence, then total, then beam, then id: the last key of `lexsort` counts first.
        order = np.lexsort((tokens, parents, -totals, self._rows.sentences[parents]))
        return Extensions(parents, tokens, totals).where(order)

    def _ranks(self, candidates: Extensions) -> IntArray:
        """`[candidates]`: 0 for the best of its sentence, 1 for the next, and so on."""
        sentences = self._rows.sentences[candidates.parents]
        # Candidates are sorted by sentence, so bisection finds the position of the first one of the same sentence.
        return np.arange(len(sentences)) - np.searchsorted(sentences, sentences)

    def _settle(self, index: IntArray, leaders: Extensions, attention: Array) -> None:
        """Mark the sentences with several beams that are done; `leaders` are their best open hypotheses."""
        for sentence in set(self._rows.sentences[index].tolist()):
            self._searches[sentence].is_done = True  # reset below if it has an open hypothesis that may win
        for row, token, total in zip(*leaders, strict=True):
            search = self._search_of(row)
            num_steps = int(self._rows.num_steps[row])
            is_last = bool(num_steps >= self._rows.max_steps[row])
            if is_last and search.best is None:
                self._end(int(row), int(token), float(total), attention)
            search.is_done = is_last or not search.may_improve(float(total), num_steps)

    def _end(self, row: int, token: int, total: float, attention: Array) -> None:
        """Finish a hypothesis with this token; the sentence keeps it if it is the best so far."""
        num_steps = int(self._rows.num_steps[row])
        search = self._search_of(row)
        if search.is_better(total, num_steps):
            tokens = self._rows.written[row, : num_steps - 1].tolist()
            origins = self._rows.origins[row, : num_steps - 1].tolist()
            history = self._attention_so_far(search, row)
            if token != EOS:
                tokens, history = [*tokens, token], search.extended(attention[row], history)
                origins += self._origins(np.array([row]), np.array([token])).tolist()
            search.keep(tokens, total, num_steps, history, origins)
        search.num_ended += 1

    def _origins(self, rows: IntArray, tokens: IntArray) -> IntArray:
        """Where the tokens of this step's rows were copied from; -1 for those that were not."""
        return np.full(len(rows), -1) if self._copying is None else self._copying.origins(rows, tokens)

    def _record_attention(self, extensions: Extensions, attention: Array) -> None:
        """Append the attention of this step to every open hypothesis, for sentences that return it."""
        for sentence, search in enumerate(self._searches):
            if search.plan.keeps_attention and not search.is_done:
                parents = extensions.parents[self._rows.sentences[extensions.parents] == sentence]
                search.attention = [
                    search.extended(attention[row], self._attention_so_far(search, row)) for row in parents
                ]

    def _attention_so_far(self, search: HypothesisSearch, row: int) -> AttentionHistory | None:
        """The attention of this row's hypothesis up to the step before."""
        first = int(np.searchsorted(self._rows.sentences, self._rows.sentences[row]))
        return search.attention[row - first] if search.plan.keeps_attention else None

    def _go_on(self, extensions: Extensions, has_grown: bool = False) -> RowReordering | None:
        """Make the extensions the rows of the next step, and renumber sentences without those that are done."""
        before = self._rows
        numbers = self._close_gaps()[before.sentences[extensions.parents]]
        # Renumbering moves the last sentences to lower numbers; a stable sort keeps the order of each one's beams.
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            extensions, numbers = extensions.where(order), numbers[order]
        parents = extensions.parents
        stays = np.array_equal(parents, np.arange(len(before.tokens)))
        rows = before if stays else before.taken(parents)
        self._rows = rows._replace(sentences=numbers, tokens=extensions.tokens, totals=extensions.totals)
        if has_grown:
            self._write(self._origins(parents, extensions.tokens))
        return None if stays else RowReordering(parents, _moved(before.sentences, parents))

    def _write(self, origins: IntArray) -> None:
        """Store the newest token of each row, and its origin; the room for tokens doubles when it is used up."""
        columns = self._rows.written.shape[1]
        if self._rows.num_steps.max(initial=0) > columns:
            self._rows = self._rows.widened(2 * columns)
        newest = np.arange(len(self._rows.tokens)), self._rows.num_steps - 1
        self._rows.written[newest], self._rows.origins[newest] = self._rows.tokens, origins

    def _close_gaps(self) -> IntArray:
        """Drop sentences that are done. Returns `[sentences]`, the new number by the old one.

        The last ones move into the gaps, so that as few rows as possible change place: of sentences 0 to 3 with 1 done,
        3 becomes 1. Every row that moves costs a copy of its encoder memory.
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
    """The rows that belong to another sentence than before; `sentences` are those of the rows before."""
    num_common = min(len(sentences), len(parents))
    moved = np.ones(len(parents), dtype=np.bool_)
    moved[:num_common] = sentences[parents[:num_common]] != sentences[:num_common]
    return np.flatnonzero(moved)
