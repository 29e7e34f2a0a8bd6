"""Endpointing: where an utterance ends in a stream of steps, and what was said in it.

An utterance ends when enough steps are blank after something was heard, and in any case after a longest duration.
Whether it ends is looked up at every n-th step of the input only, n fixed by the rule: so the places do not depend on
how the input was divided into pieces, for every decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import Decoded, Decoder, FoundKeyword, Token

#: An utterance that has lasted this share of its longest duration ends at a short pause already.
_LATE_SHARE = 0.75
_SHORT_PAUSE_S = 0.2
#: Looked up so many times within the silence that ends an utterance.
_LOOKS_PER_SILENCE = 8
#: Where the duration of a step is unknown, there are no endpoints but this one.
_MAX_STEPS_OF_UNKNOWN = 2048


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """When an utterance ends, in steps.

    Attributes:
        quiet_steps: blank steps that end it; 0 for never.
        pause_steps: blank steps that end it once it is long.
        max_steps: after which it ends in any case.
        every: steps between two looks.
    """

    quiet_steps: int
    pause_steps: int
    max_steps: int
    every: int

    @classmethod
    def of(cls, step_s: float, endpoint_ms: float, max_utterance_s: float) -> EndpointRule:
        """The rule for steps of `step_s` seconds, 0 for unknown."""
        if not step_s:
            return cls(0, 1, _MAX_STEPS_OF_UNKNOWN, 1)
        quiet = max(1, round(endpoint_ms / 1000 / step_s)) if endpoint_ms else 0
        pause = max(1, round(_SHORT_PAUSE_S / step_s))
        pause = min(pause, quiet) if quiet else pause
        return cls(
            quiet, pause, max(1, round(max_utterance_s / step_s)), max(1, (quiet or pause) // _LOOKS_PER_SILENCE)
        )

    @property
    def most_steps(self) -> int:
        """Steps that hypotheses may have: as many of silence before the first token, then the utterance."""
        return 2 * self.max_steps + self.every

    def ends(self, decoded: Decoded, num_steps: int) -> bool:
        """Whether an utterance ends after its first `num_steps` steps. One without anything begins anew."""
        if decoded.is_empty:
            return num_steps >= self.max_steps
        spoken = num_steps - first_step_of(decoded)
        if spoken >= self.max_steps:
            return True
        silence = self.pause_steps if spoken >= _LATE_SHARE * self.max_steps else self.quiet_steps
        return 0 < silence <= decoded.num_quiet


def first_step_of(heard: Decoded | Utterance) -> int:
    """The step of the first token or keyword of what has one."""
    if not heard.keywords:
        return heard.tokens[0].step
    return min([heard.keywords[0].step, *(token.step for token in heard.tokens[:1])])


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was heard from one endpoint to the next.

    Attributes:
        first_step: from where the steps of tokens and keywords count, in steps of the whole input.
        end_step: the step of the whole input before which it ends.
    """

    tokens: tuple[Token, ...]
    keywords: tuple[FoundKeyword, ...]
    first_step: int
    end_step: int


@dataclass(frozen=True, slots=True)
class Hearing:
    """The utterance under way: the hypotheses of a decoder, and its steps in the input.

    Attributes:
        first_step: where the hypotheses begin, in steps of the whole input.
        num_steps: steps since then.
    """

    hypotheses: Any
    first_step: int = 0
    num_steps: int = 0

    @property
    def end_step(self) -> int:
        return self.first_step + self.num_steps

    def utterance(self, decoded: Decoded) -> Utterance:
        """What was heard so far."""
        return Utterance(decoded.tokens, decoded.keywords, self.first_step, self.end_step)


class Heard(NamedTuple):
    """The utterance under way after some steps, and those that ended within them."""

    hearing: Hearing
    finished: list[Utterance]


def listen(
    decoder: Decoder[Any], runner: Runner, hearings: Sequence[Hearing], rows: Sequence[Array], rule: EndpointRule
) -> list[Heard]:
    """Continue each utterance under way with the steps of its row; see `Decoder.advance` for the rows."""
    places, heard = [0] * len(rows), [Heard(hearing, []) for hearing in hearings]
    live = [row for row in range(len(rows)) if len(rows[row])]
    while live:
        ends = [_next_look(rule, heard[row].hearing.end_step, places[row], len(rows[row])) for row in live]
        pieces = [rows[row][places[row] : end] for row, end in zip(live, ends, strict=True)]
        advanced = decoder.advance(runner, [heard[row].hearing.hypotheses for row in live], pieces)
        for row, end, hypotheses in zip(live, ends, advanced, strict=True):
            before = heard[row].hearing
            hearing = Hearing(hypotheses, before.first_step, before.num_steps + end - places[row])
            places[row] = end
            heard[row] = Heard(_after_look(decoder, rule, hearing, heard[row].finished), heard[row].finished)
        live = [row for row in live if places[row] < len(rows[row])]
    return heard


def _next_look(rule: EndpointRule, step: int, place: int, length: int) -> int:
    return min(length, place + rule.every - step % rule.every)


def _after_look(decoder: Decoder[Any], rule: EndpointRule, hearing: Hearing, finished: list[Utterance]) -> Hearing:
    """The utterance under way, which is a new one if this one has ended; then it is added to those."""
    if hearing.end_step % rule.every:
        return hearing
    if not rule.ends(decoder.best(hearing.hypotheses, is_final=False), hearing.num_steps):
        return hearing
    finished += ended(decoder, hearing)
    return Hearing(decoder.next_utterance(hearing.hypotheses), hearing.end_step)


def ended(decoder: Decoder[Any], hearing: Hearing) -> list[Utterance]:
    """The utterance under way as one that has ended; nothing if nothing was heard."""
    decoded = decoder.best(hearing.hypotheses, is_final=True)
    return [] if decoded.is_empty else [hearing.utterance(decoded)]
