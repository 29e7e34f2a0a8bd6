"""Which tokens may come next, so that a text parses: the grammar of a bundle, and its use in one request.

A word is the terminal that the parser can read here; where it could be several, the first by priority, strings before
patterns. So a text has one parse. What parses is the sequence of words: blanks between them do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from service.bundle.tokenizer import EOS, TextTokenizer
from service.bundle.word_joiners import JOINER
from service.tasks.seq2seq.grammar.parse_stack import Parser, ParseStack
from service.tasks.seq2seq.grammar.parse_table import GrammarError, ParseTable, parse_table

Mask = NDArray[np.bool_]

#: Longer words match no terminal, so that no pattern reads them.
MAX_WORD_CHARACTERS = 256
#: Masks of the vocabulary that are kept: one for each set of terminals that can come next.
_MAX_MASKS = 1024


class WordGrammar:
    """The grammar of a bundle, its terminals matched with the target vocabulary. Threads may share it."""

    def __init__(self, grammar: str, target: TextTokenizer, is_copying: bool) -> None:
        """
        Raises:
            GrammarError: it is too large or not LALR(1), or no text of this vocabulary parses.
        """
        self.table: ParseTable = parse_table(grammar)
        self.size = target.vocabulary_size
        texts = [target.token(token) for token in range(self.size)]
        self._of_token = [self.terminals_of(text) if token > EOS else () for token, text in enumerate(texts)]
        self._check_matched(is_copying)
        # A word whose first terminal it is will be read as that one in every place where it can come.
        self.parser = Parser(self.table, sorted({names[0] for names in self._of_token if names}))
        self.shortest = self.parser.shortest(self.parser.start())
        if not self.shortest < np.inf:
            raise GrammarError("no text of the target vocabulary parses: the rule start can never end")
        self._masks: dict[tuple[frozenset[str], frozenset[str]], Mask] = {}

    def terminals_of(self, word: str) -> tuple[str, ...]:
        """The terminals that match a word without its joiners, in the order in which they are tried."""
        written = word.strip(JOINER)
        if not written or len(written) > MAX_WORD_CHARACTERS:
            return ()
        return tuple(terminal.name for terminal in self.table.terminals if terminal.pattern.fullmatch(written))

    def of_token(self, token: int) -> tuple[str, ...]:
        return self._of_token[token]

    def mask(self, readable: frozenset[str], allowed: frozenset[str]) -> Mask:
        """`[vocab]`: the tokens that are read as one of `allowed`, where those of `readable` can come.

        A word that is read as a terminal that leads too far is out, although it may match an allowed one too.
        """
        key = (readable, allowed)
        found = self._masks.get(key)
        if found is None:
            found = np.array([_first(names, readable) in allowed for names in self._of_token], dtype=np.bool_)
            if len(self._masks) < _MAX_MASKS:
                self._masks[key] = found
        return found

    def first_error(self, words: Sequence[str]) -> int | None:
        """The position of the first word that cannot come, or the number of words if the text cannot end there.

        None for a text that parses.
        """
        stack = self.parser.start()
        for position, word in enumerate(words):
            following = self.after(stack, self.terminals_of(word))
            if following is None:
                return position
            stack = following
        return None if self.parser.can_end(stack) else len(words)

    def after(self, stack: ParseStack, terminals: Sequence[str]) -> ParseStack | None:
        """The stack after a word that matches these terminals."""
        found = (stack.after(self.table, name) for name in terminals)
        return next((following for following in found if following is not None), None)

    def _check_matched(self, is_copying: bool) -> None:
        matched = {name for names in self._of_token for name in names}
        missing = [terminal.name for terminal in self.table.terminals if terminal.name not in matched]
        if missing and not is_copying:
            raise GrammarError(f"no token of the target vocabulary matches {', '.join(missing[:5])}")


class WordConstraint:
    """The grammar in one request, with the words that it can copy."""

    def __init__(self, grammar: WordGrammar, copied: Mapping[int, str]) -> None:
        """`copied`: by extended id the source words beyond the vocabulary."""
        self._grammar = grammar
        self._copied = {token: grammar.terminals_of(word) for token, word in copied.items()}
        self.start = grammar.parser.start()

    def after(self, stack: ParseStack, token: int) -> ParseStack:
        """The stack after a token that `allowed` has let through."""
        names = self._copied[token] if token >= self._grammar.size else self._grammar.of_token(token)
        following = self._grammar.after(stack, names)
        assert following is not None, "only tokens that can come are chosen"
        return following

    def allowed(self, stack: ParseStack, num_left: int, width: int) -> Mask:
        """`[width]`: the tokens after which the text can still parse and end within `num_left` tokens, this one and
        the end token among them.
        """
        grammar = self._grammar
        moves = {name: grammar.parser.shortest(after) for name, after in stack.moves(grammar.table).items()}
        readable = frozenset(moves)
        allowed = frozenset(name for name, further in moves.items() if further + 2 <= num_left)
        mask = np.zeros(width, dtype=np.bool_)
        mask[: grammar.size] = grammar.mask(readable, allowed)
        mask[EOS] = grammar.parser.can_end(stack)
        for token, names in self._copied.items():
            mask[token] = _first(names, readable) in allowed
        return mask


def _first(names: Sequence[str], can_read: Set[str]) -> str | None:
    """The terminal as which a word is read."""
    return next((name for name in names if name in can_read), None)
