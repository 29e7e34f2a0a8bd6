"""The stacks of an LALR(1) parser, immutable and shared, and the fewest words with which each can end.

A stack knows which terminals may come next: those that the table shifts after all the reductions that they bring about.
(A table alone allows more: its reductions look at a terminal that a later state may refuse.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.seq2seq.grammar.parse_table import END, ParseTable

#: Stacks that are kept for further requests, about 200 bytes each.
MAX_SHARED_STACKS: Final = 30_000


class Choices(NamedTuple):
    """What may come next.

    Attributes:
        following: the stack after each terminal.
        needs: the fewest tokens that a text still needs with each terminal, the end token counted, ascending.
        names: the terminals in the order of `needs`; those with which the text never ends are not among them.
        can_end: whether the text may end here.
        flags: what was allowed, by the number of `needs` that there was room for.
    """

    following: Mapping[str, ParseStack]
    needs: Sequence[float]
    names: Sequence[str]
    can_end: bool
    flags: dict[int, NDArray[np.bool_]]


class ParseStack:
    """One stack: the state on top, and the stack below it. Equal stacks over one empty stack are one object."""

    __slots__ = ("_above", "_origin", "below", "choices", "num_stacks", "shortest", "state")

    def __init__(self, state: int, below: ParseStack | None = None) -> None:
        self.state, self.below = state, below
        #: The fewest words to the end, and what may come next, once they are known; see `Parser`.
        self.shortest: float | None = None
        self.choices: Choices | None = None
        self._above: dict[int, ParseStack] | None = None
        self._origin: ParseStack = self if below is None else below._origin
        #: Of the stack at the bottom: how many stand on it.
        self.num_stacks = 0

    def pushed(self, state: int) -> ParseStack:
        """The stack with one more state on top."""
        above = self._above
        if above is None:
            above = self._above = {}
        found = above.get(state)
        if found is None:  # another thread may just now have made it
            found = above.setdefault(state, ParseStack(state, self))
            self._origin.num_stacks += 1
        return found

    def forget(self) -> None:
        """Let go of all stacks over this one, and of what they have learnt, so that they go when nobody holds them.

        A stack and those over it hold each other, which would keep them until garbage is collected. Those in use go on.
        """
        waiting = [self]
        while waiting:
            stack = waiting.pop()
            above, stack._above, stack.choices = stack._above, None, None
            waiting += list(above.values()) if above else []

    def popped(self, length: int) -> ParseStack:
        """The stack without the `length` states on top."""
        stack: ParseStack = self
        for _ in range(length):
            assert stack.below is not None, "a table never pops more than was pushed"
            stack = stack.below
        return stack

    def after(self, table: ParseTable, terminal: str) -> ParseStack | None:
        """The stack after a terminal, END too; None where it cannot come."""
        stack = self
        while True:
            if terminal == END and stack.state == table.accepting:
                return stack
            action = table.actions[stack.state].get(terminal)
            if action is None:
                return None
            if isinstance(action, int):
                return stack.pushed(action)
            base = stack.popped(action.length)
            stack = base.pushed(table.following[base.state][action.symbol])


class Parser:
    """A parse table, and how many words each of its symbols needs at least.

    Only the terminals of `always` count, which some word is in every place where they can come. Threads may share it.
    """

    def __init__(self, table: ParseTable, always: Collection[str]) -> None:
        self.table = table
        self._lengths = _shortest_lengths(table.rules, always)
        self._rests = [[(item, self._length(item.rest)) for item in items] for items in table.items]
        self._empty = ParseStack(table.start)

    def start(self) -> ParseStack:
        """A stack that has read nothing; what requests learn of the stacks over it serves the next ones too."""
        if self._empty.num_stacks > MAX_SHARED_STACKS:
            full, self._empty = self._empty, ParseStack(self.table.start)
            full.forget()
        return self._empty

    def choices(self, stack: ParseStack) -> Choices:
        """What may come after this stack."""
        found = stack.choices
        if found is None:
            found = stack.choices = self._find_choices(stack)
        return found

    def _find_choices(self, stack: ParseStack) -> Choices:
        names = (name for name in self.table.actions[stack.state] if name != END)
        after = {name: stack.after(self.table, name) for name in names}
        following = {name: found for name, found in after.items() if found is not None}
        # The word itself and the end token come to the rest.
        needs = sorted((self.shortest(found) + 2, name) for name, found in following.items())
        ending = [(need, name) for need, name in needs if need < math.inf]
        can_end = stack.after(self.table, END) is not None
        return Choices(following, [need for need, _ in ending], [name for _, name in ending], can_end, {})

    def shortest(self, stack: ParseStack) -> float:
        """The fewest words with which this stack becomes a whole text, infinite if none do.

        It is the shortest path (Dijkstra) where a step completes an item of the state on top: the rest of its rule is
        written, and the states of the rule are replaced by that of its symbol.
        """
        if stack.shortest is None:
            stack.shortest = self._shortest_path(stack)
        return stack.shortest

    def _shortest_path(self, stack: ParseStack) -> float:
        order, done = count(), set[ParseStack]()
        heap: list[tuple[float, int, ParseStack | None]] = [(0.0, next(order), stack)]
        while heap:
            cost, _, place = heapq.heappop(heap)
            if place is None or place.state == self.table.accepting:
                return cost
            if place in done:
                continue
            done.add(place)
            if place.shortest is not None:
                heapq.heappush(heap, (cost + place.shortest, next(order), None))
                continue
            for further, following in self._completions(place):
                heapq.heappush(heap, (cost + further, next(order), following))
        return math.inf

    def _completions(self, stack: ParseStack) -> list[tuple[float, ParseStack]]:
        found = []
        for item, length in self._rests[stack.state]:
            base = stack.popped(item.length)
            following = self.table.following[base.state].get(item.symbol)
            if length < math.inf:
                # Nothing follows the item of the whole text: with the rest of it, the text is whole.
                found.append((length, base.pushed(self.table.accepting if following is None else following)))
        return found

    def _length(self, symbols: Sequence[str]) -> float:
        return sum(self._lengths.get(symbol, math.inf) for symbol in symbols)


def _shortest_lengths(rules: Mapping[str, Sequence[tuple[str, ...]]], always: Collection[str]) -> dict[str, float]:
    """By symbol the fewest words that it derives; symbols that derive none at all are absent."""
    lengths: dict[str, float] = dict.fromkeys(always, 1.0)
    changed = True
    while changed:
        changed = False
        for name, expansions in rules.items():
            best = min(sum(lengths.get(symbol, math.inf) for symbol in symbols) for symbols in expansions)
            if best < lengths.get(name, math.inf):
                lengths[name], changed = best, True
    return lengths
