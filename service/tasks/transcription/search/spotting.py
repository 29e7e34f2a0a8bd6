"""A decoder that also looks for keywords: any decoder of CTC, with a keyword spotter beside it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from service.tasks.core.state_bytes import malformed
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import Decoded, Decoder, FoundKeyword
from service.tasks.transcription.search.keyword_spotter import KeywordSpotter, SpotterState

HypothesesT = TypeVar("HypothesesT")
#: The length of the decoder's own bytes.
_LENGTH = struct.Struct("<I")
_FOUND = np.dtype([("keyword", "<u2"), ("step", "<u4"), ("confidence", "<f8")])


class Spotted(NamedTuple, Generic[HypothesesT]):
    """The hypotheses of the decoder, the state of the spotter, and what it has found in the utterance."""

    hypotheses: HypothesesT
    state: SpotterState
    found: tuple[FoundKeyword, ...] = ()


class SpottingDecoder(Generic[HypothesesT]):
    """A `Decoder` that adds keywords to what another one decodes."""

    def __init__(self, decoder: Decoder[HypothesesT], spotter: KeywordSpotter, name: str = "keywords") -> None:
        """`name` tells apart the states of decoders with other parameters."""
        self.name = name
        self._decoder = decoder
        self._spotter = spotter
        self._numbers = {keyword.name: number for number, keyword in enumerate(spotter.keywords)}

    def start(self) -> Spotted[HypothesesT]:
        return Spotted(self._decoder.start(), self._spotter.start())

    def next_utterance(self, hypotheses: Spotted[HypothesesT]) -> Spotted[HypothesesT]:
        return Spotted(self._decoder.next_utterance(hypotheses.hypotheses), self._spotter.shifted(hypotheses.state))

    def advance(
        self, runner: Runner, hypotheses: Sequence[Spotted[HypothesesT]], rows: Sequence[Array]
    ) -> list[Spotted[HypothesesT]]:
        decoded = self._decoder.advance(runner, [one.hypotheses for one in hypotheses], rows)
        spotted = []
        for before, after, row in zip(hypotheses, decoded, rows, strict=True):
            state, found = self._spotter.advance(before.state, row)
            spotted.append(Spotted(after, state, (*before.found, *found)))
        return spotted

    def best(self, hypotheses: Spotted[HypothesesT], is_final: bool) -> Decoded:
        found = (*hypotheses.found, *self._spotter.at_end(hypotheses.state)) if is_final else hypotheses.found
        return self._decoder.best(hypotheses.hypotheses, is_final)._replace(keywords=found)

    def to_bytes(self, hypotheses: Spotted[HypothesesT]) -> bytes:
        found = np.array(
            [(self._numbers[one.keyword], one.step, one.confidence) for one in hypotheses.found], dtype=_FOUND
        )
        inner = self._decoder.to_bytes(hypotheses.hypotheses)
        return _LENGTH.pack(len(inner)) + inner + self._spotter.to_bytes(hypotheses.state) + found.tobytes()

    def from_bytes(self, data: bytes, max_steps: int) -> Spotted[HypothesesT]:
        if len(data) < _LENGTH.size:
            raise malformed("its hypotheses are cut off")
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size + length
        end = start + self._spotter.num_bytes
        inner, state = data[_LENGTH.size : start], self._spotter.from_bytes(data[start:end])
        rest = data[end:]
        if len(rest) % _FOUND.itemsize:
            raise malformed("the keywords that it found are cut off")
        rows = np.frombuffer(rest, _FOUND)
        is_known = (rows["keyword"] < len(self._numbers)) & (rows["step"] <= state.num_steps)
        if not (is_known & (rows["confidence"] >= 0) & (rows["confidence"] <= 1)).all():
            raise malformed("a keyword that it found is none of this request")
        names = [keyword.name for keyword in self._spotter.keywords]
        found = tuple(FoundKeyword(names[number], step, confidence) for number, step, confidence in rows.tolist())
        return Spotted(self._decoder.from_bytes(inner, max_steps), state, found)
