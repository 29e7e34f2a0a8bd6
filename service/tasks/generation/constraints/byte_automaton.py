"""A deterministic automaton over the bytes of a text in UTF-8, made from a pattern or choices, and from banned words.

The pattern becomes a nondeterministic automaton (Thompson 1968), and sets of its states become the states of the
deterministic one (Rabin and Scott 1959). Banned words are searched for alongside by states of their own; a set that has
found one is dead. Both have limits on their size, so that no pattern costs more than a moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.generation.constraints.character_sets import Ranges, intersection, utf8_ranges
from service.tasks.generation.constraints.pattern import Alternation, CharacterSet, Concatenation, Pattern

#: States of every automaton. From the dead one nothing can be accepted.
DEAD, START = 0, 1

#: States times classes of bytes: four bytes each.
_MAX_CELLS = 1 << 19
#: Visits of nondeterministic states; a fraction of a second.
_MAX_WORK = 420_000
_MAX_GRAPH_STATES = 40_000
#: Visits between two pauses, about a millisecond, and their length. Without them other threads, among them the one that
#: answers everybody, would get the interpreter only when its switch interval has passed.
_VISITS_BETWEEN_PAUSES, _PAUSE_S = 4096, 0.0001


class TooComplexError(ValueError):
    """An automaton would have too many states."""


class ByteAutomaton(NamedTuple):
    """State after a byte: `table[state, classes[byte]]`.

    Attributes:
        table: int32 `[states, classes]`.
        classes: `[256]`: bytes of one class lead from each state to the same.
        accepting: bool `[states]`: whether a text may end there.
    """

    table: NDArray[np.int32]
    classes: NDArray[np.intp]
    accepting: NDArray[np.bool_]

    def after(self, data: bytes, state: int = START) -> int:
        """The state after some bytes."""
        for byte in data:
            state = self.table.item(state, self.classes.item(byte))
        return state


def byte_automaton(
    pattern: Pattern | None, choices: Sequence[str], bad_words: Sequence[str], repertoire: Ranges
) -> ByteAutomaton:
    """The automaton of texts that match the pattern, or are one of the choices, and hold no banned word.

    Args:
        pattern: None for no pattern. With neither pattern nor choices every text matches.
        repertoire: characters that can occur at all.

    Raises:
        TooComplexError: it has too many states, or takes too long to make.
    """
    graph = _Graph(repertoire)
    end = graph.add_state()
    if choices:
        graph.add_words(graph.start, end, choices)
    elif pattern is not None:
        graph.add_pattern(pattern, graph.start, end)
    else:
        graph.edges[graph.start].append((0, 255, graph.start))
        graph.jumps[graph.start].append(end)
    return _Determiniser(graph, end, bad_words).automaton()


class _Graph:
    """A nondeterministic automaton: edges that read a byte of a range, and jumps that read nothing."""

    def __init__(self, repertoire: Ranges) -> None:
        self.edges: list[list[tuple[int, int, int]]] = []
        self.jumps: list[list[int]] = []
        self._repertoire = repertoire
        self.start = self.add_state()

    def add_state(self) -> int:
        if len(self.edges) >= _MAX_GRAPH_STATES:
            raise TooComplexError
        self.edges.append([])
        self.jumps.append([])
        return len(self.edges) - 1

    def add_pattern(self, pattern: Pattern, start: int, end: int) -> None:
        """Connect two states by all texts of a pattern."""
        if isinstance(pattern, CharacterSet):
            for first, last in intersection(pattern.ranges, self._repertoire):
                for byte_ranges in utf8_ranges(first, last):
                    self._add_bytes(start, end, byte_ranges)
        elif isinstance(pattern, Concatenation):
            for part in pattern.parts:
                start = self._add_part(part, start)
            self.jumps[start].append(end)
        elif isinstance(pattern, Alternation):
            for option in pattern.options:
                self.add_pattern(option, start, end)
        else:
            self._add_repetition(pattern.part, pattern.least, pattern.most, start, end)

    def add_words(self, start: int, end: int, words: Iterable[str]) -> None:
        """Connect two states by some words, which share the states of their common beginnings."""
        known: dict[bytes, int] = {b"": start}
        for word in sorted(set(words)):
            data = word.encode()
            for length in range(1, len(data) + 1):
                if data[:length] not in known:
                    state = known[data[:length]] = self.add_state()
                    self.edges[known[data[: length - 1]]].append((data[length - 1], data[length - 1], state))
            self.jumps[known[data]].append(end)

    def _add_repetition(self, part: Pattern, least: int, most: int | None, start: int, end: int) -> None:
        for _ in range(least):
            start = self._add_part(part, start)
        if most is None:
            loop = self.add_state()  # a state of its own, as others may lead into `start`
            self.jumps[start].append(loop)
            self.jumps[self._add_part(part, loop)].append(loop)
            self.jumps[loop].append(end)
            return
        for _ in range(most - least):
            self.jumps[start].append(end)
            start = self._add_part(part, start)
        self.jumps[start].append(end)

    def _add_part(self, part: Pattern, start: int) -> int:
        """Add a part after `start`. Returns the state after it.

        It begins in a state of its own: a loop in it must not be entered from the outside a second time.
        """
        before, after = self.add_state(), self.add_state()
        self.jumps[start].append(before)
        self.add_pattern(part, before, after)
        return after

    def _add_bytes(self, start: int, end: int, byte_ranges: Sequence[tuple[int, int]]) -> None:
        *before, (first, last) = byte_ranges
        for low, high in before:
            state = self.add_state()
            self.edges[start].append((low, high, state))
            start = state
        self.edges[start].append((first, last, end))


class _Determiniser:
    """Subset construction. The first states of the graph are of the pattern, those after it search banned words."""

    def __init__(self, graph: _Graph, end: int, bad_words: Sequence[str]) -> None:
        self._num_of_pattern = len(graph.edges)
        self._end = end
        self._begins = [graph.start]
        if bad_words:
            search = graph.add_state()
            self._found = graph.add_state()
            graph.edges[search].append((0, 255, search))
            graph.add_words(search, self._found, bad_words)
            self._begins.append(search)
        else:
            self._found = -1
        self._jumps = graph.jumps
        self._classes, self._edges = _with_classes(graph.edges)
        self._num_classes = int(self._classes.max()) + 1
        self._subsets: list[frozenset[int]] = [frozenset()]
        self._numbers: dict[frozenset[int], int] = {self._subsets[DEAD]: DEAD}
        #: The states that some states lead to, by those states before jumps are followed.
        self._closures: dict[frozenset[int], int] = {}
        self._work = self._work_before_pause = 0

    def automaton(self) -> ByteAutomaton:
        self._number_of(frozenset(self._begins))
        rows = [[DEAD] * self._num_classes]
        for number in self._unread():
            rows.append(self._row(self._subsets[number]))
        if len(rows) == 1:  # nothing can be accepted, not even at the start
            rows.append([DEAD] * self._num_classes)
        accepting = [self._end in subset for subset in self._subsets] + [False]
        return ByteAutomaton(
            np.array(rows, dtype=np.int32), self._classes, np.array(accepting[: len(rows)], dtype=np.bool_)
        )

    def _unread(self) -> Iterator[int]:
        """The numbers of subsets, which grow in number meanwhile."""
        number = START
        while number < len(self._subsets):
            yield number
            number += 1

    def _row(self, subset: frozenset[int]) -> list[int]:
        """The states after each class of bytes."""
        targets: dict[int, set[int]] = {}
        always: set[int] = set()  # where any byte leads
        for state in subset:
            for classes, target in self._edges[state]:
                if len(classes) == self._num_classes:
                    always.add(target)
                    continue
                self._spend(len(classes))
                for number in classes:
                    targets.setdefault(number, set()).add(target)
        row = [self._number_of(frozenset(always))] * self._num_classes
        for number, states in targets.items():
            row[number] = self._number_of(frozenset(states | always))
        return row

    def _number_of(self, states: frozenset[int]) -> int:
        known = self._closures.get(states)
        if known is not None:
            return known
        subset = self._closed(states)
        number = self._numbers.get(subset)
        if number is None:
            number = self._numbers[subset] = len(self._subsets)
            self._subsets.append(subset)
            if number * self._num_classes > _MAX_CELLS:
                raise TooComplexError
        self._closures[states] = number
        return number

    def _closed(self, states: frozenset[int]) -> frozenset[int]:
        """The states with those that jumps lead to; empty if a banned word was found, or the pattern has failed."""
        reached, waiting = set(states), list(states)
        while waiting:
            jumps = self._jumps[waiting.pop()]
            self._spend(1 + len(jumps))
            for target in jumps:
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        # States that only jump are left out: subsets that differ in nothing else are the same.
        kept = frozenset(state for state in reached if self._edges[state] or state in (self._end, self._found))
        is_alive = self._found not in kept and any(state < self._num_of_pattern for state in kept)
        return kept if is_alive else frozenset()

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise TooComplexError
        if self._work - self._work_before_pause > _VISITS_BETWEEN_PAUSES:
            self._work_before_pause = self._work
            time.sleep(_PAUSE_S)


def _with_classes(
    edges: Sequence[Sequence[tuple[int, int, int]]],
) -> tuple[NDArray[np.intp], list[list[tuple[range, int]]]]:
    """The class of each byte, `[256]`, and the edges of each state as ranges of classes."""
    is_border = np.zeros(257, dtype=np.intp)
    for outgoing in edges:
        for low, high, _ in outgoing:
            is_border[[low, high + 1]] = 1
    is_border[0] = 0
    classes = np.cumsum(is_border[:256])
    return classes, [
        [(range(int(classes[low]), int(classes[high]) + 1), target) for low, high, target in outgoing]
        for outgoing in edges
    ]
