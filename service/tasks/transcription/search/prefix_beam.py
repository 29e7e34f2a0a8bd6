"""Prefix beam search over the outputs of CTC (Hannun et al. 2014, "First-pass large vocabulary continuous speech
recognition using bi-directional recurrent DNNs"), with shallow fusion, word lists and boosted phrases.

A hypothesis is a text with the probabilities of all its alignments. At each step it stays, by a blank or by its last
token again, or grows by a token; the best texts are kept. Steps that are blank beyond doubt, most of a trained model's,
cost nothing: every hypothesis stays. The best single alignment of each text is followed beside, for the times of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import BLANK, Decoded, Token
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.hypotheses import (
    NEVER,
    NOTHING,
    Alignments,
    Hypotheses,
    Prefix,
    Scores,
    Written,
    first_hypotheses,
    key_after,
    log_add,
)
from service.tasks.transcription.search.hypothesis_bytes import HypothesisBytes
from service.tasks.transcription.search.language_model import LanguageModel, LanguagePoint

#: The least probability of a token with a word list, which may allow none of the probable ones.
_LEAST_OF_WORD_LIST = 1e-5


@dataclass(frozen=True)
class Pruning:
    """What is not looked at, because it would hardly change the best text. Probabilities are 0 to 1.

    Attributes:
        certain_blank: a step whose blank has more is passed over.
        min_probability: tokens of a step with less are left out; with a word list it is 1e-5 at most.
        max_tokens: most tokens of a step that hypotheses grow by.
        max_gap: hypotheses this far below the best one, in nats, are dropped.
    """

    certain_blank: float = 0.995
    min_probability: float = 1e-3
    max_tokens: int = 48
    max_gap: float = 16.0


class Growth(NamedTuple):
    """The tokens that hypotheses may grow by at a step, with their log-probabilities, and those of all tokens."""

    log_probs: dict[int, float]
    blank: float
    row: Array

    def of(self, token_id: int) -> float:
        """The log-probability of any token; of no token minus infinity."""
        if token_id == NOTHING:
            return NEVER
        found = self.log_probs.get(token_id)
        return float(self.row[token_id]) if found is None else found


class PrefixBeamSearch:
    """A `Decoder` of CTC that follows the `num_beams` best texts."""

    def __init__(
        self,
        num_beams: int,
        vocabulary_size: int,
        *,
        language_model: LanguageModel | None = None,
        language_model_weight: float = 0.0,
        token_bonus: float = 0.0,
        biasing: Biasing | None = None,
        pruning: Pruning = Pruning(),
        name: str = "beam",
    ) -> None:
        """`token_bonus` is added for each token. `name` tells apart the states of decoders with other parameters."""
        self.name = name
        self.num_beams = num_beams
        self.language_model = language_model if language_model_weight else None
        self.biasing = biasing
        self._bytes = HypothesisBytes(num_beams, vocabulary_size, self.language_model, biasing)
        self._weight = language_model_weight
        self._bonus = token_bonus
        self._pruning = pruning
        with np.errstate(divide="ignore"):
            least = _LEAST_OF_WORD_LIST if biasing and biasing.words else 1.0
            min_probability = min(pruning.min_probability, least)
            self._least = float(np.log(np.float64(min_probability)))
            self._certain = float(np.log(np.float64(pruning.certain_blank)))

    def start(self) -> Hypotheses:
        return self._first()

    def next_utterance(self, hypotheses: Hypotheses) -> Hypotheses:
        return self._first(hypotheses.top_id if hypotheses.top_id != BLANK else NOTHING)

    def advance(self, runner: Runner, hypotheses: Sequence[Hypotheses], rows: Sequence[Array]) -> list[Hypotheses]:
        streams = [_Stream(self, before, row) for before, row in zip(hypotheses, rows, strict=True)]
        open_streams = [stream for stream in streams if stream.skip_blanks()]
        while open_streams:
            self._read_language(runner, [stream.current for stream in open_streams])
            for stream in open_streams:
                stream.take_step()
            open_streams = [stream for stream in open_streams if stream.skip_blanks()]
        finished = [stream.finished() for stream in streams]
        # What is new is read now: `best` compares how well the texts may end.
        self._read_language(runner, finished)
        return finished

    def best(self, hypotheses: Hypotheses, is_final: bool) -> Decoded:
        totals = hypotheses.totals
        if is_final:
            ended = [total + gain for total, gain in zip(totals, self._gains_at_end(hypotheses), strict=True)]
            totals = ended if max(ended) > NEVER else totals
        index = totals.index(max(totals))
        tokens = hypotheses.tokens(index)
        if is_final and self.biasing is not None:
            tokens = tokens[: self.biasing.num_complete([token.token_id for token in tokens])]
        return Decoded(tokens, hypotheses.num_quiet)

    def to_bytes(self, hypotheses: Hypotheses) -> bytes:
        return self._bytes.write(hypotheses)

    def from_bytes(self, data: bytes, max_steps: int) -> Hypotheses:
        return self._bytes.read(data, max_steps)

    def full_steps(self, log_probs: Array) -> IntArray:
        """The steps of a row that are not blank beyond doubt."""
        return np.flatnonzero(log_probs[:, BLANK] <= self._certain)

    def growth(self, row: Array) -> Growth:
        """The tokens that may be written at a step; of equals the lower ids."""
        ids = np.flatnonzero(row[EOS + 1 :] > self._least) + EOS + 1
        if len(ids) > self._pruning.max_tokens:
            order = np.argsort(-row[ids], kind="stable")[: self._pruning.max_tokens]
            ids = np.sort(ids[order])
        return Growth(dict(zip(ids.tolist(), row[ids].tolist(), strict=True)), float(row[BLANK]), row)

    def gains(self, prefix: Prefix, ids: Sequence[int]) -> list[float]:
        """What is added to a text for growing by each token."""
        gains = [self._bonus] * len(ids)
        if prefix.point is not None and prefix.point.log_probs is not None:
            scores = prefix.point.log_probs.take(ids).tolist()
            gains = [gain + self._weight * score for gain, score in zip(gains, scores, strict=True)]
        if self.biasing is not None:
            more = self.biasing.gains(prefix.context, ids)
            gains = [gain + other for gain, other in zip(gains, more, strict=True)]
        return gains

    def grown(self, prefix: Prefix, token_id: int, gain: float) -> Prefix:
        """A text with one more token."""
        point, context = prefix.point, prefix.context
        if self.language_model is not None and point is not None:
            point = self.language_model.following(point, token_id)
        if self.biasing is not None:
            context = self.biasing.extended(context, token_id).context
        key = key_after(prefix.key, token_id)
        return Prefix(key, prefix.key, token_id, prefix.extra + gain, context, point)

    def least(self, total: float) -> float:
        """What a candidate must have beside another one of that total."""
        return total - self._pruning.max_gap

    def _first(self, held_id: int = NOTHING) -> Hypotheses:
        context = self.biasing.start if self.biasing is not None else Prefix().context
        point = self.language_model.start() if self.language_model is not None else None
        return first_hypotheses(context, point, held_id)

    def _read_language(self, runner: Runner, hypotheses: Sequence[Hypotheses]) -> None:
        if self.language_model is not None:
            self.language_model.read(runner, _points(hypotheses))

    def _gains_at_end(self, hypotheses: Hypotheses) -> list[float]:
        """What is due for each text if no step follows."""
        gains = []
        for prefix in hypotheses.prefixes:
            gain = self._weight * prefix.point.end if prefix.point is not None else 0.0
            gains.append(gain + (self.biasing.gain_at_end(prefix.context) if self.biasing is not None else 0.0))
        return gains


def _points(hypotheses: Sequence[Hypotheses]) -> list[LanguagePoint]:
    return [prefix.point for one in hypotheses for prefix in one.prefixes if prefix.point is not None]


class _Stream:
    """The steps of one stream within one call of `advance`."""

    def __init__(self, search: PrefixBeamSearch, before: Hypotheses, log_probs: Array) -> None:
        self.current = before
        self._search = search
        self._start = before
        self._log_probs = log_probs
        self._full = search.full_steps(log_probs).tolist()
        self._place = 0

    def skip_blanks(self) -> bool:
        """Pass over the steps that are blank beyond doubt; returns whether there is a step after them."""
        end = self._full[0] if self._full else len(self._log_probs)
        if end > self._place:
            blanks = self._log_probs[self._place : end, BLANK].tolist()
            self.current = _after_blanks(self.current, blanks)
            self._place = end
        return bool(self._full)

    def take_step(self) -> None:
        """Advance by the step under way."""
        place = self._full.pop(0)
        growth = self._search.growth(self._log_probs[place])
        self.current = _advanced(self._search, self.current, growth, self._start.num_steps + place)
        self._place = place + 1

    def finished(self) -> Hypotheses:
        """The hypotheses after the last step, which also count the steps."""
        top_ids = self._log_probs.argmax(axis=1)
        loud = np.flatnonzero(top_ids != BLANK)
        num_quiet = len(top_ids) - 1 - int(loud[-1]) if len(loud) else self._start.num_quiet + len(top_ids)
        now = self.current
        num_steps = self._start.num_steps + len(top_ids)
        return Hypotheses(now.prefixes, now.alignments, now.scores, now.base, int(top_ids[-1]), num_steps, num_quiet)


def _after_blanks(before: Hypotheses, blanks: Sequence[float]) -> Hypotheses:
    """The hypotheses after steps at which only the blank counts. All alignments then end in a blank."""
    base = before.base
    for log_prob in blanks:
        base += log_prob
    if all(score.in_token == NEVER for score in before.scores):
        return replace(before, base=base)
    scores = tuple(
        Scores(score.total, NEVER, max(score.best_in_blank, score.best_in_token), NEVER) for score in before.scores
    )
    alignments = tuple(Alignments(before.best_path(index)) for index in range(len(scores)))
    return replace(before, alignments=alignments, scores=scores, base=base)


class _Candidate(NamedTuple):
    """A text that stays, `token_id` NOTHING, or grows by a token."""

    total: float
    parent: int
    token_id: int
    gain: float
    score: float
    best: float


def _advanced(search: PrefixBeamSearch, before: Hypotheses, growth: Growth, step: int) -> Hypotheses:
    """The best texts after a step, the best first, of equals the first."""
    one = _Step(search, before, growth, step)
    one.stay()
    one.merge()
    candidates = one.candidates()
    candidates.sort(key=_total, reverse=True)
    least = search.least(candidates[0].total)
    kept = [candidate for candidate in candidates[: search.num_beams] if candidate.total >= least]
    made = [one.made(candidate) for candidate in kept]
    prefixes, alignments, scores = zip(*made, strict=True)
    return Hypotheses(prefixes, alignments, scores, before.base)


def _total(candidate: _Candidate) -> float:
    return candidate.total


class _Step:
    """The candidates of one step. There are few, so that plain numbers are faster than arrays."""

    def __init__(self, search: PrefixBeamSearch, before: Hypotheses, growth: Growth, step: int) -> None:
        self._search, self._before, self._growth, self._step = search, before, growth, step
        self._totals = [score.total for score in before.scores]
        self._bests = [max(score.best_in_blank, score.best_in_token) for score in before.scores]
        self._stays: list[Scores] = []
        self._alignments: list[Alignments] = []
        self._merged: set[tuple[int, int]] = set()

    def stay(self) -> None:
        """Every text stays, by a blank or by its last token again."""
        before, blank = self._before, self._growth.blank
        for index, (prefix, score) in enumerate(zip(before.prefixes, before.scores, strict=True)):
            of_last = self._growth.of(prefix.last_id)
            total, best = self._totals[index] + blank, self._bests[index] + blank
            self._stays.append(Scores(total, score.in_token + of_last, best, score.best_in_token + of_last))
            sounding = _sounding(before.alignments[index].in_token, of_last)
            self._alignments.append(Alignments(before.best_path(index), sounding))

    def merge(self) -> None:
        """Where a text grows to one that is followed already, add it to that one."""
        rows = {prefix.key: row for row, prefix in enumerate(self._before.prefixes)}
        for index, prefix in enumerate(self._before.prefixes):
            row, last_id = rows.get(prefix.parent_key), prefix.last_id
            if row is None or row == index or last_id not in self._growth.log_probs:
                continue
            score, best = self._grown(row, last_id)
            stays = self._stays[index]
            stays = stays._replace(in_token=log_add(stays.in_token, score))
            if best > stays.best_in_token:
                stays = stays._replace(best_in_token=best)
                self._alignments[index] = self._alignments[index]._replace(in_token=self._written(row, last_id))
            self._stays[index] = stays
            self._merged.add((row, last_id))

    def candidates(self) -> list[_Candidate]:
        """All that may be kept: those that stay, then those that grow."""
        prefixes = self._before.prefixes
        totals = [stays.total + prefix.extra for stays, prefix in zip(self._stays, prefixes, strict=True)]
        found = [_Candidate(total, index, NOTHING, 0.0, 0.0, 0.0) for index, total in enumerate(totals)]
        least, ids = self._search.least(max(totals)), list(self._growth.log_probs)
        for index, prefix in enumerate(prefixes):
            for token_id, gain in zip(ids, self._search.gains(prefix, ids), strict=True):
                score, best = self._grown(index, token_id)
                total = score + prefix.extra + gain
                if total >= least and total > NEVER and (index, token_id) not in self._merged:
                    found.append(_Candidate(total, index, token_id, gain, score, best))
        return found

    def made(self, candidate: _Candidate) -> tuple[Prefix, Alignments, Scores]:
        """The text of a candidate."""
        index, token_id = candidate.parent, candidate.token_id
        if token_id == NOTHING:
            return self._before.prefixes[index], self._alignments[index], self._stays[index]
        prefix = self._search.grown(self._before.prefixes[index], token_id, candidate.gain)
        scores = Scores(NEVER, candidate.score, NEVER, candidate.best)
        return prefix, Alignments(None, self._written(index, token_id)), scores

    def _grown(self, index: int, token_id: int) -> tuple[float, float]:
        """The scores of a text with one more token; the last token again is a new one only after a blank."""
        log_prob = self._growth.log_probs[token_id]
        if self._before.prefixes[index].last_id == token_id:
            score = self._before.scores[index]
            return score.in_blank + log_prob, score.best_in_blank + log_prob
        return self._totals[index] + log_prob, self._bests[index] + log_prob

    def _written(self, index: int, token_id: int) -> Written:
        """The best alignment of a text with one more token, written at this step."""
        again = self._before.prefixes[index].last_id == token_id
        path = self._before.alignments[index].in_blank if again else self._alignments[index].in_blank
        return Written(Token(token_id, self._step, min(self._growth.log_probs[token_id], 0.0)), path)


def _sounding(path: Written | None, log_prob: float) -> Written | None:
    """An alignment whose last token sounds at this step too."""
    if path is None or path.token.log_prob >= log_prob:
        return path
    return Written(path.token._replace(log_prob=min(log_prob, 0.0)), path.before)
