"""Prefix beam search over the outputs of CTC (Hannun et al. 2014, "First-pass large vocabulary continuous speech
recognition using bi-directional recurrent DNNs"), with shallow fusion, word lists and boosted phrases.

A hypothesis is a text with the probabilities of all its alignments. At each step it stays, by a blank or by its last
token again, or grows by a token; the best texts are kept. Steps that are blank beyond doubt, most of a trained model's,
cost nothing: every hypothesis stays. The best single alignment of each text is followed beside, for the times of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import BLANK, Decoded, Token
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.hypotheses import (
    BEST_IN_BLANK,
    BEST_IN_TOKEN,
    ENDS_IN_BLANK,
    ENDS_IN_TOKEN,
    NOTHING,
    Alignments,
    Hypotheses,
    Prefix,
    Written,
    best_of,
    first_hypotheses,
    key_after,
)
from service.tasks.transcription.search.hypothesis_bytes import HypothesisBytes
from service.tasks.transcription.search.language_model import LanguageModel, LanguagePoint

_NEVER = -np.inf


@dataclass(frozen=True)
class Pruning:
    """What is not looked at, because it would hardly change the best text. Probabilities are 0 to 1.

    Attributes:
        certain_blank: a step whose blank has more is passed over.
        min_probability: tokens of a step with less are left out, unless there is a word list.
        max_tokens: most tokens of a step that hypotheses grow by.
        max_gap: hypotheses this far below the best one, in nats, are dropped.
    """

    certain_blank: float = 0.995
    min_probability: float = 1e-3
    max_tokens: int = 48
    max_gap: float = 16.0


class Growth(NamedTuple):
    """The tokens that hypotheses may grow by at a step, `ids` `[tokens]`, and the log-probabilities of all tokens."""

    ids: IntArray
    log_probs: DoubleArray


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
            min_probability = 0.0 if biasing and biasing.words else pruning.min_probability
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
            ended = totals + self._gains_at_end(hypotheses)
            totals = ended if np.isfinite(ended).any() else totals
        index = best_of(totals)
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

    def growth(self, log_probs: Array) -> Growth:
        """The tokens that may be written at a step; of equals the lower ids."""
        values = log_probs.astype(np.float64)
        ids = np.flatnonzero(values[EOS + 1 :] > self._least) + EOS + 1
        if len(ids) > self._pruning.max_tokens:
            order = np.argsort(-values[ids], kind="stable")[: self._pruning.max_tokens]
            ids = np.sort(ids[order])
        return Growth(ids, values)

    def gains(self, prefixes: Sequence[Prefix], ids: IntArray) -> DoubleArray:
        """`[texts, tokens]`: what is added to each text for growing by each token."""
        gains = np.full((len(prefixes), len(ids)), self._bonus)
        if self.language_model is not None:
            rows = [prefix.point.log_probs[ids] for prefix in prefixes if prefix.point is not None]  # type: ignore[index]
            gains += self._weight * np.stack(rows)
        if self.biasing is not None:
            gains += self.biasing.gains([prefix.context for prefix in prefixes], ids.tolist())
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

    def kept(self, totals: DoubleArray) -> list[int]:
        """The indices of the best candidates, the best first, of equals the first."""
        if len(totals) > self.num_beams:
            edge = np.partition(totals, len(totals) - self.num_beams)[len(totals) - self.num_beams]
            candidates = np.flatnonzero(totals >= edge)
        else:
            candidates = np.arange(len(totals))
        order = candidates[np.argsort(-totals[candidates], kind="stable")][: self.num_beams]
        least = totals[order[0]] - self._pruning.max_gap
        return [int(index) for index in order if totals[index] >= least and totals[index] > _NEVER]

    def _first(self, held_id: int = NOTHING) -> Hypotheses:
        context = self.biasing.start if self.biasing is not None else Prefix().context
        point = self.language_model.start() if self.language_model is not None else None
        return first_hypotheses(context, point, held_id)

    def _read_language(self, runner: Runner, hypotheses: Sequence[Hypotheses]) -> None:
        if self.language_model is not None:
            self.language_model.read(runner, _points(hypotheses))

    def _gains_at_end(self, hypotheses: Hypotheses) -> DoubleArray:
        """`[texts]`: what is due if no step follows."""
        gains = np.zeros(len(hypotheses.prefixes))
        for index, prefix in enumerate(hypotheses.prefixes):
            if prefix.point is not None:
                gains[index] += self._weight * prefix.point.end
            if self.biasing is not None:
                gains[index] += self.biasing.gain_at_end(prefix.context)
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
    scores = before.scores
    if not np.isneginf(scores[ENDS_IN_TOKEN]).all():
        scores = np.full_like(scores, _NEVER)
        scores[ENDS_IN_BLANK] = np.logaddexp(before.scores[ENDS_IN_BLANK], before.scores[ENDS_IN_TOKEN])
        scores[BEST_IN_BLANK] = np.maximum(before.scores[BEST_IN_BLANK], before.scores[BEST_IN_TOKEN])
        alignments = tuple(Alignments(path) for path in _best_paths(before))
    else:
        alignments = before.alignments
    return Hypotheses(before.prefixes, alignments, scores, base, before.top_id, before.num_steps, before.num_quiet)


def _best_paths(hypotheses: Hypotheses) -> list[Written | None]:
    """The best alignment of each text."""
    in_blank = (hypotheses.scores[BEST_IN_BLANK] >= hypotheses.scores[BEST_IN_TOKEN]).tolist()
    return [one.in_blank if blank else one.in_token for one, blank in zip(hypotheses.alignments, in_blank, strict=True)]


def _advanced(search: PrefixBeamSearch, before: Hypotheses, growth: Growth, step: int) -> Hypotheses:
    """The best texts after a step."""
    candidates = _Candidates(before, growth, step)
    candidates.merge()
    gains = search.gains(before.prefixes, growth.ids)
    extras = before.extras
    stays = np.logaddexp(candidates.stays[ENDS_IN_BLANK], candidates.stays[ENDS_IN_TOKEN]) + extras
    grows = candidates.grows + extras[:, None] + gains
    kept = search.kept(np.concatenate((stays, grows.ravel())))
    prefixes, alignments = [], []
    scores = np.full((4, len(kept)), _NEVER)
    for place, index in enumerate(kept):
        if index < len(stays):
            prefixes.append(before.prefixes[index])
            alignments.append(candidates.alignments[index])
            scores[:, place] = candidates.stays[:, index]
            continue
        parent, column = divmod(index - len(stays), len(growth.ids))
        token_id = int(growth.ids[column])
        prefixes.append(search.grown(before.prefixes[parent], token_id, float(gains[parent, column])))
        alignments.append(Alignments(None, candidates.written(parent, token_id)))
        scores[ENDS_IN_TOKEN, place] = candidates.grows[parent, column]
        scores[BEST_IN_TOKEN, place] = candidates.best_grows[parent, column]
    return Hypotheses(tuple(prefixes), tuple(alignments), scores, before.base)


class _Candidates:
    """The texts that stay, `stays` `[4, texts]` as `Hypotheses.scores`, and those that grow, `[texts, tokens]`."""

    def __init__(self, before: Hypotheses, growth: Growth, step: int) -> None:
        self._before, self._growth, self._step = before, growth, step
        self._paths = _best_paths(before)
        last_ids = before.last_ids
        totals = np.logaddexp(before.scores[ENDS_IN_BLANK], before.scores[ENDS_IN_TOKEN])
        bests = np.maximum(before.scores[BEST_IN_BLANK], before.scores[BEST_IN_TOKEN])
        of_last = np.where(last_ids == NOTHING, _NEVER, growth.log_probs[last_ids])
        blank = growth.log_probs[BLANK]
        self.stays = np.stack(
            (
                totals + blank,
                before.scores[ENDS_IN_TOKEN] + of_last,
                bests + blank,
                before.scores[BEST_IN_TOKEN] + of_last,
            )
        )
        # The last token again is a new token only after a blank.
        again = last_ids[:, None] == growth.ids
        log_probs = growth.log_probs[growth.ids]
        self.grows = np.where(again, before.scores[ENDS_IN_BLANK][:, None], totals[:, None]) + log_probs
        self.best_grows = np.where(again, before.scores[BEST_IN_BLANK][:, None], bests[:, None]) + log_probs
        self.alignments = [
            Alignments(path, self._sounding(one.in_token, float(log_prob)))
            for path, one, log_prob in zip(self._paths, before.alignments, of_last, strict=True)
        ]

    def merge(self) -> None:
        """Where a text grows to one that is followed already, add it to that one."""
        rows = {prefix.key: row for row, prefix in enumerate(self._before.prefixes)}
        columns = {token_id: column for column, token_id in enumerate(self._growth.ids.tolist())}
        for index, prefix in enumerate(self._before.prefixes):
            row, column = rows.get(prefix.parent_key), columns.get(prefix.last_id)
            if row is None or column is None or row == index:
                continue
            self.stays[ENDS_IN_TOKEN, index] = np.logaddexp(self.stays[ENDS_IN_TOKEN, index], self.grows[row, column])
            if self.best_grows[row, column] > self.stays[BEST_IN_TOKEN, index]:
                self.stays[BEST_IN_TOKEN, index] = self.best_grows[row, column]
                self.alignments[index] = self.alignments[index]._replace(in_token=self.written(row, prefix.last_id))
            self.grows[row, column] = _NEVER

    def written(self, row: int, token_id: int) -> Written:
        """The best alignment of a text with one more token, written at this step."""
        again = self._before.prefixes[row].last_id == token_id
        path = self._before.alignments[row].in_blank if again else self._paths[row]
        return Written(Token(token_id, self._step, min(float(self._growth.log_probs[token_id]), 0.0)), path)

    def _sounding(self, path: Written | None, log_prob: float) -> Written | None:
        """An alignment whose last token sounds at this step too."""
        if path is None or path.token.log_prob >= log_prob:
            return path
        return Written(path.token._replace(log_prob=min(log_prob, 0.0)), path.before)
