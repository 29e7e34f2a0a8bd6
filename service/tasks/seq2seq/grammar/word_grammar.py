"""The grammar of a bundle, its terminals matched with the words of the target vocabulary.

A word is the terminal that the parser can read here; where it could be several, the first by priority, strings before
patterns. So a text has one parse. What parses is the sequence of words: blanks between them do not matter.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS, TextTokenizer
from service.bundle.word_joiners import JOINER
from service.tasks.seq2seq.grammar.parse_stack import Parser, ParseStack
from service.tasks.seq2seq.grammar.parse_table import GrammarError, ParseTable

Mask = NDArray[np.bool_]

#: Parts of patterns that are visited at most to match the vocabulary, some seconds.
MAX_VOCABULARY_VISITS: Final = 10_000_000
#: Groups of words in masks: what no terminal matches, and the end token.
NEVER, END_GROUP = 0, 1
#: Words whose terminals are kept.
_MAX_KNOWN_WORDS, _MAX_KNOWN_CHARACTERS = 10_000, 64
_MAX_SHOWN = 8


class ParseFault(NamedTuple):
    """The first word of a text that cannot come, None at its end; where it is; and what could have come."""

    position: int
    word: str | None
    expected: tuple[str, ...]

    def __str__(self) -> str:
        expected = [*self.expected[:_MAX_SHOWN], *(["..."] if len(self.expected) > _MAX_SHOWN else [])]
        what = "the end" if self.word is None else repr(self.word)
        return f"word {self.position + 1}: {what} cannot come here; expected {', '.join(expected) or 'the end'}"


class TextGrammar:
    """A grammar over words, whatever the vocabulary."""

    def __init__(self, grammar: str) -> None:
        """
        Raises:
            GrammarError: it is too large, or not LALR(1).
        """
        from service.tasks.seq2seq.grammar.lalr import parse_table  # lark, which only bundles with a grammar need

        self.table: ParseTable = parse_table(grammar)
        self.parser = Parser(self.table, [terminal.name for terminal in self.table.terminals])
        self._known_words: dict[str, tuple[str, ...]] = {}

    def terminals_of(self, word: str) -> tuple[str, ...]:
        """The terminals that match a word without its joiners, in the order in which they are tried."""
        known = self._known_words.get(word)
        if known is None:
            known = self._matching(word.strip(JOINER))
            if len(word) <= _MAX_KNOWN_CHARACTERS and len(self._known_words) < _MAX_KNOWN_WORDS:
                self._known_words[word] = known
        return known

    def _matching(self, word: str) -> tuple[str, ...]:
        return tuple(
            terminal.name
            for terminal in self.table.terminals
            if (word == terminal.word if terminal.pattern is None else word and terminal.pattern.matches(word))
        )

    def after(self, stack: ParseStack, terminals: Sequence[str]) -> ParseStack | None:
        """The stack after a word that matches these terminals."""
        following = self.parser.choices(stack).following
        name = _first(terminals, following)
        return None if name is None else following[name]

    def fault(self, words: Sequence[str]) -> ParseFault | None:
        """The first fault of a text; None for one that parses."""
        stack = self.parser.start()
        for position, word in enumerate(words):
            following = self.after(stack, self.terminals_of(word))
            if following is None:
                return ParseFault(position, word.strip(JOINER), self._expected(stack))
            stack = following
        can_end = self.parser.choices(stack).can_end
        return None if can_end else ParseFault(len(words), None, self._expected(stack))

    def _expected(self, stack: ParseStack) -> tuple[str, ...]:
        choices = self.parser.choices(stack)
        shown = [terminal.shown for terminal in self.table.terminals if terminal.name in choices.following]
        return (*shown, *(["the end"] if choices.can_end else []))


class WordGrammar(TextGrammar):
    """A grammar over the words of a target vocabulary. Threads may share it."""

    def __init__(self, grammar: str, target: TextTokenizer, is_copying: bool, max_new_tokens: int) -> None:
        """
        Raises:
            GrammarError: it is too large or not LALR(1), or no text of this vocabulary parses within the limit.
        """
        super().__init__(grammar)
        if not target.reads_words:
            raise GrammarError("a grammar is one of words, and the target tokens of this model are parts of words")
        self.size = target.vocabulary_size
        names = [self._names(target.token(token)) if token > EOS else () for token in range(self.size)]
        #: The terminals of the words of each group; no two groups have the same.
        self.kinds: list[tuple[str, ...]] = [(), (), *sorted({each for each in names if each})]
        numbers = {kind: number for number, kind in enumerate(self.kinds) if kind}
        #: `[vocab]`: the group of each token.
        self.groups: IntArray = np.array([numbers.get(each, NEVER) for each in names], dtype=np.int64)
        self.groups[EOS] = END_GROUP
        self.parser = Parser(self.table, always_read(self.table, self.kinds))
        self.shortest = self.parser.shortest(self.parser.start())
        self._check_vocabulary(is_copying, max_new_tokens)

    def flags(self, stack: ParseStack, num_left: int) -> Mask:
        """`[groups]`: whether words of each may come, if the text has room for `num_left` tokens, the end token too.

        A word that is read as a terminal that leads too far is out, although it may match an allowed one too.
        """
        choices = self.parser.choices(stack)
        num_allowed = bisect_right(choices.needs, num_left)
        found = choices.flags.get(num_allowed)
        if found is None:
            found = self.flags_of(self.kinds, stack, num_allowed)
            found[END_GROUP] = choices.can_end
            choices.flags[num_allowed] = found
        return found

    def flags_of(self, kinds: Sequence[tuple[str, ...]], stack: ParseStack, num_allowed: int) -> Mask:
        """`[kinds]`: whether words that match these terminals may come, if only the first `num_allowed` choices may."""
        choices = self.parser.choices(stack)
        allowed = frozenset(choices.names[:num_allowed])
        return np.array([_first(names, choices.following) in allowed for names in kinds], dtype=np.bool_)

    def _names(self, token: str) -> tuple[str, ...]:
        found = self.terminals_of(token)
        visits = sum(terminal.pattern.visits for terminal in self.table.terminals if terminal.pattern is not None)
        if visits > MAX_VOCABULARY_VISITS:
            raise GrammarError("the patterns of its terminals take too long to match with the target vocabulary")
        return found

    def _check_vocabulary(self, is_copying: bool, max_new_tokens: int) -> None:
        """Raises GrammarError if the vocabulary lacks words that the grammar needs, or every text is too long."""
        matched = {name for kind in self.kinds for name in kind}
        missing = [terminal.shown for terminal in self.table.terminals if terminal.name not in matched]
        shown = ", ".join(missing[:_MAX_SHOWN]) + (", ..." if len(missing) > _MAX_SHOWN else "")
        why = f"no token of the target vocabulary matches {shown}" if missing else ""
        if missing and not is_copying:
            raise GrammarError(why)
        if self.shortest == math.inf:
            raise GrammarError(f"no text of the target vocabulary parses, for none ever ends{'; ' * bool(why)}{why}")
        if self.shortest + 1 > max_new_tokens:
            raise GrammarError(f"its shortest text has {self.shortest:.0f} tokens, and the limit is {max_new_tokens}")


def always_read(table: ParseTable, kinds: Iterable[tuple[str, ...]]) -> set[str]:
    """The terminals that some word of these kinds is wherever they can come.

    A word is none of the terminals before it in its kind there, if no state knows both.
    """
    together: dict[str, set[str]] = {terminal.name: set() for terminal in table.terminals}
    for row in table.actions:
        for name in row.keys() & together.keys():
            together[name] |= row.keys()
    return {name for names in kinds for place, name in enumerate(names) if together[name].isdisjoint(names[:place])}


def _first(names: Iterable[str], can_read: Collection[str]) -> str | None:
    """The terminal as which a word is read."""
    return next((name for name in names if name in can_read), None)
