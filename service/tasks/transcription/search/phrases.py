"""Boosted phrases: a prefix tree with failure links (Aho and Corasick 1975) that pays for what is matched.

A hypothesis is paid for each character of a phrase as it writes it, so that it is not pruned before its end, and pays
all back when it leaves the phrase before its end (contextual biasing; Pundak et al. 2018 do it over a prefix tree).
Phrases match whole words only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_ROOT = 0


class PhraseStep(NamedTuple):
    """The state after more characters, and what the hypothesis is paid for them; negative if it pays back."""

    state: int
    payment: float


class BoostedPhrases:
    """An automaton over characters. It has at most one node for each character of the phrases, and two more each."""

    def __init__(self, phrases: Iterable[str], boost: float, begins_with_blank: bool, per_word: bool = False) -> None:
        """`boost` is for each character but blanks, or for each word of a phrase. `phrases` have single blanks."""
        self._nodes: list[dict[str, int]] = [{}]
        #: What is paid so far for the phrase under way; it is paid back if that breaks off.
        self._lent: list[float] = [0.0]
        #: What is kept, at the end of a phrase.
        self._earned: list[float] = [0.0]
        self._links: list[int] = [_ROOT]
        for phrase in phrases:
            self._add(phrase, boost, per_word)
        self._link()
        self.start = _ROOT if begins_with_blank else self._nodes[_ROOT].get(" ", _ROOT)

    @property
    def num_states(self) -> int:
        """The number of its states, from 0."""
        return len(self._nodes)

    def step(self, state: int, text: str) -> PhraseStep:
        """Follow the characters of a token."""
        payment = 0.0
        for character in text:
            following = self._follow(state, character)
            payment += self._lent[following] - self._lent[state] + self._earned[following]
            state = following
        return PhraseStep(state, payment)

    def payment_at_end(self, state: int) -> float:
        """What is due when a text ends here: a phrase at its end is earned, another under way is paid back."""
        after, payment = self.step(state, " ")
        return payment - self._lent[after]

    def _follow(self, state: int, character: str) -> int:
        while character not in self._nodes[state] and state != _ROOT:
            state = self._links[state]
        return self._nodes[state].get(character, _ROOT)

    def _add(self, phrase: str, boost: float, per_word: bool) -> None:
        """Add a phrase with the blanks around it, by which it matches whole words."""
        node = _ROOT
        text = f" {phrase} "
        for place, character in enumerate(text):
            after = self._nodes[node].setdefault(character, len(self._nodes))
            if after == len(self._nodes):
                is_paid = character != " " and (not per_word or text[place - 1] == " ")
                self._nodes.append({})
                self._lent.append(self._lent[node] + (boost if is_paid else 0.0))
                self._earned.append(0.0)
                self._links.append(_ROOT)
            node = after
        self._earned[node] = self._lent[node]

    def _link(self) -> None:
        """Set the failure links, breadth first; at the end of a phrase what it lent becomes what it earned.

        A phrase that goes on from the end of another, or that ends another, is paid for what it has more.
        """
        waiting = deque([(_ROOT, 0.0)])
        while waiting:
            node, settled = waiting.popleft()
            if self._earned[node]:
                self._earned[node] -= settled
                settled = self._lent[node]
            for character, child in self._nodes[node].items():
                if node != _ROOT:
                    self._links[child] = self._follow(self._links[node], character)
                waiting.append((child, settled))
            self._earned[node] = max(self._earned[node], self._earned[self._links[node]])
            self._lent[node] -= settled
