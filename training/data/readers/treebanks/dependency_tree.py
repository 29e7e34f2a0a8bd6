"""Check that heads form a tree: one root, and from every word a path of heads to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: Words of a circle that a message names.
_MAX_NAMED = 6


class TreeFault(NamedTuple):
    """What is wrong at a word (its number, from 1), and what is allowed."""

    word: int
    what: str
    allowed: str


def fault_of_tree(heads: Sequence[int]) -> TreeFault | None:
    """The first reason why `heads` (words from 1, 0 for the root) are no tree; None for a tree."""
    for word, head in enumerate(heads, start=1):
        if head > len(heads):
            allowed = f"HEAD is 0 for the root, or the id of another word: 1 to {len(heads)}"
            return TreeFault(word, f"HEAD is {head}, and the sentence has {len(heads)} words", allowed)
        if head == word:
            return TreeFault(word, f"word {word} is its own head", "HEAD is 0 for the root, or the id of another word")
    roots = [word for word, head in enumerate(heads, start=1) if head == 0]
    if len(roots) != 1:
        what = f"words {roots[0]} and {roots[1]} both have HEAD 0" if roots else "no word has HEAD 0"
        return TreeFault(roots[1] if roots else 1, what, "a sentence has exactly one root")
    circle = find_circle(heads)
    if circle is None:
        return None
    named = " -> ".join(map(str, circle[:_MAX_NAMED])) + (" ..." if len(circle) > _MAX_NAMED else f" -> {circle[0]}")
    return TreeFault(min(circle), f"heads go in a circle: {named}", "every word must lead to the root")


def find_circle(heads: Sequence[int]) -> list[int] | None:
    """The words of a circle of heads, each followed by its head; None if every word leads to a root."""
    leads_to_root = {0}
    for start in range(1, len(heads) + 1):
        path: list[int] = []
        seen: dict[int, int] = {}
        word = start
        while word not in leads_to_root:
            if word in seen:
                return path[seen[word] :]
            seen[word] = len(path)
            path.append(word)
            word = heads[word - 1]
        leads_to_root.update(path)
    return None
