"""A word list as a prefix tree of characters: of which words a hypothesis may still become a sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: The state after what is no beginning of a sequence of the words.
REFUSED: Final = -1
#: The state after a blank, where a word begins.
_WORD_START: Final = 0


class WordList:
    """An automaton that accepts the words of a list, divided by single blanks; a state is a node of its tree.

    It has at most one node for each character of the list, and one more.
    """

    def __init__(self, words: Iterable[str], begins_with_blank: bool) -> None:
        """`words` hold no blanks. With `begins_with_blank` a text begins with one."""
        self._nodes: list[dict[str, int]] = [{}]
        self._is_word = [False]
        for word in words:
            self._add(word)
        self.start = self._new_node() if begins_with_blank else _WORD_START
        if begins_with_blank:
            self._nodes[self.start][" "] = _WORD_START

    @property
    def num_states(self) -> int:
        """The number of its states, from 0."""
        return len(self._nodes)

    def step(self, state: int, text: str) -> int:
        """The state after more characters; REFUSED if no sequence of words goes on like this."""
        for character in text:
            following = self._nodes[state].get(character, REFUSED)
            if following == REFUSED and character == " " and self._is_word[state]:
                following = _WORD_START
            if following == REFUSED:
                return REFUSED
            state = following
        return state

    def is_complete(self, state: int) -> bool:
        """Whether a text may end here: after a word, after a blank, or before anything."""
        return self._is_word[state] or state in (_WORD_START, self.start)

    def _add(self, word: str) -> None:
        node = _WORD_START
        for character in word:
            node = self._nodes[node].setdefault(character, len(self._nodes))
            if node == len(self._nodes):
                self._new_node()
        self._is_word[node] = True

    def _new_node(self) -> int:
        self._nodes.append({})
        self._is_word.append(False)
        return len(self._nodes) - 1
