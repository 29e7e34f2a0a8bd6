"""Maximum spanning trees: against every tree of short sentences, and what must hold for long ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import Array, IntArray
from service.tasks.parsing.spanning_tree import is_single_root_tree, maximum_spanning_tree


def total(scores: Array, heads: IntArray) -> float:
    return float(scores[np.arange(len(heads)), heads].sum())


def is_tree(heads: tuple[int, ...]) -> bool:
    """Whether every word reaches the root, and one of them directly: followed arc by arc."""
    for word in range(1, len(heads) + 1):
        for _ in heads:
            word = heads[word - 1] if word else 0
        if word:
            return False
    return heads.count(0) == 1


def best_of_all(scores: Array) -> float:
    """The sum of the best tree, found by looking at all of them."""
    size = len(scores)
    trees = [heads for heads in product(range(size + 1), repeat=size) if is_tree(heads)]
    return max(total(scores, np.array(heads)) for heads in trees)


def loose_scores(random: np.random.Generator, size: int, kind: str) -> Array:
    if kind == "ties":
        return random.integers(-2, 3, size=(size, size + 1)).astype(np.float32)
    if kind == "negative":
        return -np.abs(random.normal(size=(size, size + 1))) * 1e4
    if kind == "root is best":
        return random.normal(size=(size, size + 1)) + 50.0 * (np.arange(size + 1) == 0)
    return random.normal(size=(size, size + 1)).astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "ties", "negative", "root is best"])
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_no_tree_is_better_than_the_one_found(kind: str, size: int, seed: int) -> None:
    """Of all trees with one root over up to five words, none has a larger sum."""
    scores = loose_scores(np.random.default_rng(seed), size, kind)
    heads = maximum_spanning_tree(scores)
    assert is_tree(tuple(heads.tolist()))
    assert total(scores, heads) == pytest.approx(best_of_all(scores), abs=1e-6)


def slow_tree(scores: Array) -> float:
    """The sum of the best tree by recursive Chu-Liu-Edmonds, once for each word that may hang from the root."""
    size = len(scores)
    sums = []
    for root in range(size):
        arcs = {(head, word): float(scores[word - 1, head]) for word in range(1, size + 1) for head in range(size + 1)}
        allowed = {(head, word): s for (head, word), s in arcs.items() if head != word and (head or word == root + 1)}
        sums.append(_best_sum(allowed, set(range(1, size + 1))))
    return max(sums)


def _best_sum(arcs: dict[tuple[int, int], float], words: set[int]) -> float:
    best = {word: max((s, head) for (head, to), s in arcs.items() if to == word) for word in words}
    cycle = _cycle({word: head for word, (_, head) in best.items()})
    if not cycle:
        return sum(s for s, _ in best.values())
    made = max(words) + 1000
    inner = sum(best[word][0] for word in cycle)
    merged: dict[tuple[int, int], float] = {}
    for (head, word), s in arcs.items():
        if head in cycle and word in cycle:
            continue
        arc = (made if head in cycle else head, made if word in cycle else word)
        gain = s - best[word][0] if word in cycle else s
        merged[arc] = max(gain, merged.get(arc, -np.inf))
    return inner + _best_sum(merged, (words - cycle) | {made})


def _cycle(heads: dict[int, int]) -> set[int]:
    for start in heads:
        word, seen = start, list[int]()
        while word in heads and word not in seen:
            seen.append(word)
            word = heads[word]
        if word in seen:
            return set(seen[seen.index(word) :])
    return set()


@pytest.mark.parametrize("size", [8, 13])
@pytest.mark.parametrize("kind", ["normal", "ties", "root is best"])
def test_trees_of_longer_sentences_are_as_good_as_by_the_textbook(size: int, kind: str) -> None:
    """Contractions within contractions give the sum that the recursive algorithm gives."""
    random = np.random.default_rng(size)
    for _ in range(5):
        scores = loose_scores(random, size, kind)
        heads = maximum_spanning_tree(scores)
        assert is_tree(tuple(heads.tolist()))
        assert total(scores, heads) == pytest.approx(slow_tree(scores), abs=1e-5)


def nested_cycles(size: int) -> Array:
    """Scores by which each contraction makes the next cycle, as deep as the sentence is long."""
    words = np.arange(1, size + 1)
    scores = np.full((size, size + 1), -1e5)
    scores[words[:-1] - 1, words[:-1] + 1] = 0.0
    scores[words[1:] - 1, words[1:] - 1] = -1.0 * words[1:]
    return scores


@pytest.mark.parametrize("kind", ["random", "nested", "equal"])
def test_a_thousand_words_get_a_tree(kind: str) -> None:
    """Neither depth nor length of a sentence exceeds the stack, and the answer is a tree with one root."""
    size = 1000
    random = np.random.default_rng(0).normal(size=(size, size + 1))
    scores = {"random": random, "nested": nested_cycles(size), "equal": np.zeros((size, size + 1))}[kind]
    heads = maximum_spanning_tree(scores)
    assert is_single_root_tree(heads)
    assert (heads == maximum_spanning_tree(scores)).all()


def test_the_score_of_a_word_as_its_own_head_is_ignored() -> None:
    scores = np.array([[0.0, 9.0, 1.0], [3.0, 0.0, 9.0]])
    assert maximum_spanning_tree(scores).tolist() == [2, 0]


def test_huge_scores_give_a_tree_with_one_root() -> None:
    """The penalty of arcs from the root does not overflow where scores are the largest of float32."""
    random = np.random.default_rng(1)
    scores = (random.choice([-1.0, 1.0], size=(20, 21)) * np.finfo(np.float32).max).astype(np.float32)
    assert is_single_root_tree(maximum_spanning_tree(scores))


@pytest.mark.parametrize(
    ("heads", "expected"),
    [([0], True), ([2, 0], True), ([0, 0], False), ([2, 1], False), ([0, 3, 2], False), ([3, 1, 0], True)],
)
def test_trees_are_told_from_other_graphs(heads: list[int], expected: bool) -> None:
    assert is_single_root_tree(np.array(heads)) is expected
