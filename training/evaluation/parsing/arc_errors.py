"""Errors of dependency trees: by kind, with the words around them, by relation and by distance to the head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from training.data.records import ParsedSentence
from training.evaluation.analysis.errors import ErrorCase, around
from training.evaluation.analysis.findings import Table
from training.evaluation.parsing.attachment import Parse, universal
from training.evaluation.scoring import percentage

#: Largest distance of each row of the table; the last row has no bound.
_DISTANCES: Final = (1, 2, 5, 10)

Pairs = Sequence[tuple[ParsedSentence, Parse]]


class Arc(NamedTuple):
    """One word with its right and its predicted head and relation, without subtypes."""

    word: int
    head: int
    relation: str
    found_head: int
    found_relation: str

    @property
    def has_head(self) -> bool:
        return self.head == self.found_head

    @property
    def is_right(self) -> bool:
        return self.has_head and self.relation == self.found_relation

    @property
    def distance(self) -> str:
        """How far the right head is, as a row of the table names it."""
        if not self.head:
            return "root"
        apart = abs(self.head - self.word)
        low = 1
        for high in _DISTANCES:
            if apart <= high:
                return str(high) if low == high else f"{low} to {high}"
            low = high + 1
        return f"{low} or more"


def arcs_of(gold: ParsedSentence, found: Parse) -> Iterator[Arc]:
    """The arcs of one sentence."""
    rows = zip(gold.heads, gold.relations, found.heads, found.relations, strict=True)
    for word, (head, relation, found_head, found_relation) in enumerate(rows, start=1):
        yield Arc(word, head, universal(relation), found_head, universal(found_relation))


def arc_errors(gold: ParsedSentence, found: Parse) -> list[ErrorCase]:
    """The wrong arcs of one sentence; the kind is the relation whose head is wrong, or `gold -> predicted` relation."""
    cases = []
    for arc in arcs_of(gold, found):
        if not arc.is_right:
            given = arc.found_relation or "nothing"
            kind = f"{arc.relation} -> {given}" if arc.has_head else f"head of {arc.relation}"
            right, answer = _shown(gold, arc.head, arc.relation), _shown(gold, arc.found_head, given)
            cases.append(ErrorCase(kind, right, answer, around(gold.words, arc.word - 1, arc.word)))
    return cases


def _shown(sentence: ParsedSentence, head: int, relation: str) -> str:
    if head < 0:
        return "nothing"
    return f"{relation} of {sentence.words[head - 1]}" if head else f"{relation} (root)"


def tables(pairs: Pairs) -> list[Table]:
    """UAS and LAS by relation, the most frequent first, and by distance."""
    arcs = [arc for gold, found in pairs for arc in arcs_of(gold, found)]
    names = [name for name, _ in Counter(arc.relation for arc in arcs).most_common()]
    distances = sorted({arc.distance for arc in arcs}, key=_nearest)
    return [
        _table("By relation", "relation", names, [(arc.relation, arc) for arc in arcs]),
        _table("By distance to the head", "words apart", distances, [(arc.distance, arc) for arc in arcs]),
    ]


def _nearest(distance: str) -> int:
    """The least distance of a row, by which rows are ordered."""
    return 0 if distance == "root" else int(distance.split(maxsplit=1)[0])


def _table(title: str, of_what: str, names: Sequence[str], arcs: Sequence[tuple[str, Arc]]) -> Table:
    whole, heads, right = Counter[str](), Counter[str](), Counter[str]()
    for name, arc in arcs:
        whole[name] += 1
        heads[name] += arc.has_head
        right[name] += arc.is_right
    rows = [
        (name, f"{whole[name]:,}", *(f"{percentage(part[name], whole[name]):.1f}" for part in (heads, right)))
        for name in names
    ]
    return Table(title, (of_what, "words", "UAS", "LAS"), rows)
