"""The maximum spanning tree of a sentence: the dependency tree with the largest sum of arc scores, and one root.

Chu-Liu-Edmonds as one growing path (Gabow, Galil, Spencer and Tarjan 1986): a cycle is contracted as soon as the path
meets itself. Every contraction handles whole rows, so a sentence of n words costs O(n^2), and no function calls itself.
"""

from __future__ import annotations

import numpy as np

from service.bundle.padding import Array, IntArray
from service.tasks.core.probabilities import DoubleArray

_NOWHERE = -1


def maximum_spanning_tree(scores: Array) -> IntArray:
    """The head of each word in the best tree that has exactly one arc from the root.

    Args:
        scores: finite, `[words, words + 1]`. A row is a dependent; column 0 is the root, column j the word j - 1.
            The score of a word as its own head is ignored.

    Returns:
        `[words]`: the column of each word's head. Equal scores always give the same tree.
    """
    without_loops = _without_loops(scores)
    greedy: IntArray = without_loops.argmax(axis=1)
    # Nothing can be better than the best head of every word, and nearly always those form a tree.
    return greedy if is_single_root_tree(greedy) else _Contraction(_with_costly_root(without_loops)).heads()


def is_single_root_tree(heads: IntArray) -> bool:
    """Whether heads `[words]`, 0 for the root, form a tree over all words with one arc from the root."""
    if np.count_nonzero(heads == 0) != 1:
        return False
    ancestors = np.concatenate(([0], heads))
    for _ in range(len(heads).bit_length()):  # each round doubles the number of arcs that are followed
        ancestors = ancestors[ancestors]
    return not ancestors.any()


def _without_loops(scores: Array) -> DoubleArray:
    """The scores relative to the best head of each word, which changes no choice; -inf for a word as its own head."""
    words = np.arange(len(scores))
    relative = scores.astype(np.float64)
    relative[words, words + 1] = -np.inf
    relative -= relative.max(axis=1, keepdims=True)
    return relative


def _with_costly_root(scores: DoubleArray) -> DoubleArray:
    """Arcs from the root, each made worse than any difference between two trees (Stanojevic and Cohen 2021).

    The best tree then has as few of them as a tree can have, which is one, and is the best of those.
    """
    lowest = np.where(np.isfinite(scores), scores, 0.0).min()
    costly = scores.copy()
    costly[:, 0] -= 1.0 - lowest * len(scores)
    return costly


class _Contraction:
    """Contraction of cycles, and their expansion to a tree.

    Vertices are the root, 0, the words from 1, and then one for each contracted cycle, numbered as they are made.

    Attributes:
        gains: of each vertex, by source word: the best score of an arc into it, less the score of the arc within a
            cycle that it replaces; -inf from its own words.
        targets: of each vertex, by source word: the word that this arc enters. None for a word, which it is itself.
        owner: of each word: the vertex that it is part of.
        parents: of each vertex: the contracted cycle that it is in.
        arcs: of each vertex: the chosen arc into it, as source and target word.
    """

    def __init__(self, scores: DoubleArray) -> None:
        size = len(scores) + 1
        self._size = size
        self._gains: list[DoubleArray | None] = [None, *scores]
        self._targets: list[IntArray | None] = [None] * size
        self._owner = np.arange(size)
        self._parents = [_NOWHERE] * size
        self._arcs: list[tuple[int, int]] = [(_NOWHERE, _NOWHERE)] * size

    def heads(self) -> IntArray:
        is_finished = np.zeros(2 * self._size, dtype=bool)
        is_finished[0] = True
        for word in range(1, self._size):
            path = self._grown(int(self._owner[word]), is_finished)
            is_finished[path] = True
        return self._expanded()

    def _grown(self, start: int, is_finished: Array) -> list[int]:
        """The vertices from `start` to one whose head is known already; no cycle is left among them."""
        if is_finished[start]:
            return []
        path, places = [start], {start: 0}
        while True:
            head = self._choose_arc(path[-1])
            if is_finished[head]:
                return path
            if head in places:
                cycle = path[places[head] :]
                del path[places[head] :]
                head = self._contract(cycle)
            places[head] = len(path)
            path.append(head)

    def _choose_arc(self, vertex: int) -> int:
        """Note the best arc into a vertex, and return the vertex that it comes from."""
        gains, targets = self._gains[vertex], self._targets[vertex]
        assert gains is not None
        source = int(gains.argmax())
        self._arcs[vertex] = source, vertex if targets is None else int(targets[source])
        return int(self._owner[source])

    def _contract(self, cycle: list[int]) -> int:
        """One vertex in place of those of a cycle; their rows are no longer needed."""
        made = len(self._parents)
        best = np.full(self._size, -np.inf)
        targets = np.zeros(self._size, dtype=np.int64)
        for vertex in cycle:
            gains, entered = self._gains[vertex], self._targets[vertex]
            assert gains is not None
            gains = gains - gains[self._arcs[vertex][0]]
            is_better = gains > best
            best = np.where(is_better, gains, best)
            targets = np.where(is_better, vertex if entered is None else entered, targets)
            self._gains[vertex] = self._targets[vertex] = None
            self._parents[vertex] = made
        self._owner[np.isin(self._owner, cycle)] = made
        best[self._owner == made] = -np.inf
        self._gains.append(best)
        self._targets.append(targets)
        self._parents.append(_NOWHERE)
        self._arcs.append((_NOWHERE, _NOWHERE))
        return made

    def _expanded(self) -> IntArray:
        """From the last contraction to the first: the arc into a cycle replaces the one into the word it enters."""
        heads = np.zeros(self._size, dtype=np.int64)
        is_replaced = [False] * len(self._parents)
        for vertex in range(len(self._parents) - 1, 0, -1):
            if is_replaced[vertex]:
                continue
            source, inner = self._arcs[vertex]
            heads[inner] = source
            while inner != vertex:
                is_replaced[inner] = True
                inner = self._parents[inner]
        return heads[1:]
