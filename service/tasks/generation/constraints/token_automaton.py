"""An automaton over tokens: which may follow in each state, so that the text can always be completed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.generation.constraints.byte_automaton import START, ByteAutomaton, TooComplexError
from service.tasks.generation.constraints.token_texts import TokenTexts

BoolArray = NDArray[np.bool_]

#: Pairs of a state and a node of the vocabulary's trie that are looked at to find dead ends: a fraction of a second.
_MAX_PAIRS = 10_000_000
#: States that are walked together.
_STATES_TOGETHER = 32
#: Bytes of the masks that are kept, for each automaton.
_MAX_MASK_BYTES = 1 << 22


class TokenAutomaton:
    """The states of a `ByteAutomaton`, joined by whole tokens.

    A state is alive if some sequence of tokens leads from it to an accepting one. Only tokens that lead to such a state
    are allowed, and the end token where the text may end, so that there is always something to choose: what the bytes
    alone would allow may be a dead end for a vocabulary that cannot spell the rest.
    """

    def __init__(self, automaton: ByteAutomaton, texts: TokenTexts) -> None:
        """Raises TooComplexError if there are too many states for this vocabulary."""
        self._automaton = automaton
        self._texts = texts
        self._alive = _alive(automaton.accepting, *self._edges())
        self._masks: dict[int, BoolArray] = {}
        self._max_masks = max(1, _MAX_MASK_BYTES // texts.vocabulary_size)

    @property
    def can_begin(self) -> bool:
        """Whether a text of at least one token is possible."""
        return bool(self._alive[START]) and bool(self.allowed(START)[EOS + 1 :].any())

    def is_alive(self, state: int) -> bool:
        """Whether there is such a state, and a text can be completed from it."""
        return state < len(self._alive) and bool(self._alive[state])

    def can_write(self, text: str) -> bool:
        """Whether tokens can spell the whole text, and it may end there."""
        data = text.encode()
        return bool(self._automaton.accepting[self._automaton.after(data)]) and self._texts.can_spell(data)

    def allowed(self, state: int) -> BoolArray:
        """`[vocab]`: the tokens that may follow. The array must not be changed."""
        mask = self._masks.get(state)
        if mask is None:
            mask = self._mask(state)
            if len(self._masks) >= self._max_masks:
                self._masks.clear()
            self._masks[state] = mask
        return mask

    def after(self, state: int, token_id: int) -> int:
        """The state after an allowed token other than the end token."""
        return self._texts.after(self._automaton, state, token_id)

    def _mask(self, state: int) -> BoolArray:
        texts = self._texts
        mask = np.zeros(texts.vocabulary_size, dtype=np.bool_)
        mask[texts.token_ids] = self._alive[texts.reached(self._automaton, state)[texts.token_nodes]]
        mask[EOS] = self._automaton.accepting[state]
        return mask

    def _edges(self) -> tuple[IntArray, IntArray]:
        """Source and target of each pair of states that a token joins."""
        num_states, num_pairs, found = len(self._automaton.table), 0, []
        for first in range(START, num_states, _STATES_TOGETHER):
            states = np.arange(first, min(first + _STATES_TOGETHER, num_states))
            walk = self._texts.walk(self._automaton, states)
            num_pairs += len(walk.nodes)
            if num_pairs > _MAX_PAIRS:
                raise TooComplexError
            ends = self._texts.is_token[walk.nodes]
            found.append(np.unique(states[walk.origins[ends]] * num_states + walk.states[ends]))
        pairs = np.concatenate(found)
        return pairs // num_states, pairs % num_states


def _alive(accepting: BoolArray, sources: IntArray, targets: IntArray) -> BoolArray:
    """`[states]`: whether edges lead from a state to an accepting one, or it is one itself."""
    alive = accepting.copy()
    while True:
        new = sources[alive[targets] & ~alive[sources]]
        if not len(new):
            return alive
        alive[new] = True
