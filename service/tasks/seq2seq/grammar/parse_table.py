"""The LALR(1) parse table of a grammar, as the parser reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from service.tasks.seq2seq.grammar.word_pattern import WordPattern

#: The rule that derives the whole text.
START_RULE: Final = "start"
#: Stands for the end of the text in the rows of a table.
END: Final = "$END"


class GrammarError(ValueError):
    """A grammar that cannot be used, with the reason."""


class Reduction(NamedTuple):
    """Replace the `length` states on top by the state that follows `symbol`."""

    symbol: str
    length: int


class Item(NamedTuple):
    """What a state has read of a rule: `length` symbols of it; `rest` are those that are missing."""

    symbol: str
    length: int
    rest: tuple[str, ...]


class Terminal(NamedTuple):
    """A kind of words: one word, or those that a pattern matches as a whole. `shown` is how messages name it."""

    name: str
    shown: str
    word: str | None
    pattern: WordPattern | None


class ParseTable(NamedTuple):
    """States are numbers.

    Attributes:
        actions: by state and terminal: the state to shift to, or a reduction.
        following: by state and nonterminal, the state after it.
        items: the kernel items of each state.
        rules: the expansions of each nonterminal.
        terminals: in the order in which a word that several match is taken: by priority, strings before patterns.
        start: the first state.
        accepting: the state after the whole text.
    """

    actions: Sequence[Mapping[str, int | Reduction]]
    following: Sequence[Mapping[str, int]]
    items: Sequence[Sequence[Item]]
    rules: Mapping[str, Sequence[tuple[str, ...]]]
    terminals: Sequence[Terminal]
    start: int
    accepting: int
