"""The bytes that each token of a vocabulary adds to a text, as a trie that many states of an automaton walk at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS, TextTokenizer
from service.tasks.generation.constraints.byte_automaton import DEAD, ByteAutomaton
from service.tasks.generation.constraints.character_sets import ALL_CHARACTERS, Ranges, union

_ROOT = 0


class Walk(NamedTuple):
    """Where walks lead without dying, `[pairs]` each: place of the first state, node of the trie, state there."""

    origins: IntArray
    nodes: IntArray
    states: IntArray


class TokenTexts:
    """The trie of a vocabulary. A token that adds nothing, or whose bytes are unknown, is in no constrained text.

    Attributes:
        repertoire: the characters that a text can hold.
        token_ids, token_nodes: the tokens in the trie, and the node at which each of them ends.
        is_token: `[nodes]`: whether a token ends there.
        needs_context: whether some token has other bytes at the start of a text.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.vocabulary_size = tokenizer.vocabulary_size
        self._bytes = tokenizer.bytes_of_tokens()
        self.repertoire = _repertoire(self._bytes)
        self._known = frozenset(self._bytes)
        self._longest = max(map(len, self._bytes), default=0)
        prefixes = _prefixes(self._bytes)
        places = {prefix: place for place, prefix in enumerate(prefixes)}
        self._data: IntArray = np.array([prefix[-1] if prefix else 0 for prefix in prefixes], dtype=np.int64)
        self._parents: IntArray = np.array([places[prefix[:-1]] for prefix in prefixes], dtype=np.int64)
        ends = np.cumsum(np.bincount([len(prefix) for prefix in prefixes])).tolist()
        self._levels = [slice(start, end) for start, end in pairwise(ends)]
        #: The children of a node stand next to each other, because beginnings of one length are sorted.
        self._num_children: IntArray = np.bincount(self._parents[1:], minlength=len(prefixes)).astype(np.int64)
        self._first_child: IntArray = 1 + np.cumsum(self._num_children) - self._num_children
        written = [token_id for token_id, data in enumerate(self._bytes) if data]
        self.token_ids: IntArray = np.array(written, dtype=np.int64)
        self.token_nodes: IntArray = np.array([places[self._bytes[token_id]] for token_id in written], dtype=np.int64)
        self.is_token = np.zeros(len(prefixes), dtype=np.bool_)
        self.is_token[self.token_nodes] = True
        spaced = [token_id for token_id in written if self._bytes[token_id].startswith(b" ")]
        self.needs_context = any(not tokenizer.decode([token_id]).startswith(" ") for token_id in spaced)

    def walk(self, automaton: ByteAutomaton, states: IntArray) -> Walk:
        """Walk all branches of the trie from each of `[states]`."""
        at = Walk(np.arange(len(states)), np.full(len(states), _ROOT), states)
        steps = []
        while len(at.nodes):
            at = self._step(automaton, at)
            steps.append(at)
        return Walk(*(np.concatenate([getattr(step, name) for step in steps]) for name in Walk._fields))

    def reached(self, automaton: ByteAutomaton, state: int) -> NDArray[np.int32]:
        """`[nodes]`: the state at each node, from one state at the root; faster for all nodes than a walk."""
        found = np.empty(len(self._data), dtype=np.int32)
        found[_ROOT] = state
        classes = automaton.classes[self._data]
        for level in self._levels:
            found[level] = automaton.table[found[self._parents[level]], classes[level]]
        return found

    def can_spell(self, data: bytes) -> bool:
        """Whether some tokens, one after the other, have these bytes."""
        is_reached = [True] + [False] * len(data)
        for start in range(len(data)):
            if is_reached[start]:
                for end in range(start + 1, min(len(data), start + self._longest) + 1):
                    is_reached[end] = is_reached[end] or data[start:end] in self._known
        return is_reached[-1]

    def after(self, automaton: ByteAutomaton, state: int, token_id: int) -> int:
        """The state after one token."""
        return automaton.after(self._bytes[token_id], state)

    def _step(self, automaton: ByteAutomaton, at: Walk) -> Walk:
        """From each node to all of its children."""
        num_children = self._num_children[at.nodes]
        walks = np.repeat(np.arange(len(at.nodes)), num_children)
        number_of_child = np.arange(len(walks)) - np.repeat(np.cumsum(num_children) - num_children, num_children)
        children = self._first_child[at.nodes[walks]] + number_of_child
        states = automaton.table[at.states[walks], automaton.classes[self._data[children]]]
        lives = np.flatnonzero(states != DEAD)
        return Walk(at.origins[walks[lives]], children[lives], states[lives].astype(np.int64))


def _prefixes(data_of_tokens: Sequence[bytes]) -> list[bytes]:
    """The distinct beginnings of all tokens, the shorter before the longer; the first is empty."""
    prefixes = {data[:length] for data in data_of_tokens for length in range(len(data) + 1)}
    return sorted(prefixes | {b""}, key=lambda prefix: (len(prefix), prefix))


def _repertoire(data_of_tokens: Sequence[bytes]) -> Ranges:
    """The characters of all tokens; every one if some tokens are parts of characters."""
    try:
        characters = {character for data in data_of_tokens[EOS + 1 :] for character in data.decode()}
    except UnicodeDecodeError:
        return ALL_CHARACTERS
    return union((ord(character), ord(character)) for character in characters)
