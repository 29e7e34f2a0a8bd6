"""The stacks of an LALR(1) parser, immutable and shared, and the fewest words with which each can end.

A stack knows which terminals may come next: those that the table shifts after all the reductions that they bring about.
(A table alone allows more: its reductions look at a terminal that a later state may refuse.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from itertools import count

from service.tasks.seq2seq.grammar.parse_table import END, ParseTable


class ParseStack:
    """One stack: the state on top, and the stack below it. Equal stacks of one request are one object."""

    __slots__ = ("_above", "_moves", "below", "shortest", "state")

    def __init__(self, state: int, below: ParseStack | None = None) -> None:
        self.state, self.below = state, below
        #: The fewest words to the end, once it is known; see `Parser.shortest`.
        self.shortest: float | None = None
        self._above: dict[int, ParseStack] = {}
        self._moves: dict[str, ParseStack | None] = {}

    def pushed(self, state: int) -> ParseStack:
        """The stack with one more state on top."""
        found = self._above.get(state)
        if found is None:
            found = self._above[state] = ParseStack(state, self)
        return found

    def popped(self, length: int) -> ParseStack:
        """The stack without the `length` states on top."""
        stack: ParseStack = self
        for _ in range(length):
            assert stack.below is not None, "a table never pops more than was pushed"
            stack = stack.below
        return stack

    def after(self, table: ParseTable, terminal: str) -> ParseStack | None:
        """The stack after a terminal, END too; None where it cannot come."""
        if terminal not in self._moves:
            self._moves[terminal] = self._shifted(table, terminal)
        return self._moves[terminal]

    def moves(self, table: ParseTable) -> dict[str, ParseStack]:
        """The stack after each terminal that can come next."""
        row = table.actions[self.state]
        found = {name: self.after(table, name) for name in row if name != END}
        return {name: following for name, following in found.items() if following is not None}

    def _shifted(self, table: ParseTable, terminal: str) -> ParseStack | None:
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

    Only the terminals of `always` count, which some word is in every place where they can come.
    """

    def __init__(self, table: ParseTable, always: Sequence[str]) -> None:
        self.table = table
        self._lengths = _shortest_lengths(table.rules, always)
        self._rests = [[(item, self._length(item.rest)) for item in items] for items in table.items]

    def start(self) -> ParseStack:
        """A stack that has read nothing. Each request needs its own, which holds all that come from it."""
        return ParseStack(self.table.start)

    def can_end(self, stack: ParseStack) -> bool:
        return stack.after(self.table, END) is not None

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


def _shortest_lengths(rules: Mapping[str, Sequence[tuple[str, ...]]], always: Sequence[str]) -> dict[str, float]:
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
