"""Which tokens may come next in one request, so that its text parses: the grammar, and the words that can be copied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from service.tasks.seq2seq.grammar.parse_stack import ParseStack
from service.tasks.seq2seq.grammar.word_grammar import Mask, WordGrammar


class WordConstraint:
    """The grammar in one request."""

    def __init__(self, grammar: WordGrammar, copied: Mapping[int, str]) -> None:
        """`copied`: by extended id the source words beyond the vocabulary."""
        self._grammar = grammar
        self.start = grammar.parser.start()
        self._names = {token: grammar.terminals_of(word) for token, word in copied.items()}
        numbers = {kind: number for number, kind in enumerate(grammar.kinds) if kind}
        #: What copied words match and no word of the vocabulary does: groups after those of the vocabulary.
        self._further = sorted({names for names in self._names.values() if names and names not in numbers})
        numbers |= {kind: len(grammar.kinds) + number for number, kind in enumerate(self._further)}
        room = max(copied, default=grammar.size - 1) + 1 - grammar.size
        self._groups = np.concatenate([grammar.groups, np.zeros(room, dtype=np.int64)]) if room else grammar.groups
        for token, names in self._names.items():
            self._groups[token] = numbers.get(names, 0)

    def after(self, stack: ParseStack, token: int) -> ParseStack:
        """The stack after a token that `allowed` has let through."""
        names = self._names[token] if token in self._names else self._grammar.kinds[self._groups[token]]
        following = self._grammar.after(stack, names)
        assert following is not None, "only tokens that can come are chosen"
        return following

    def allowed(self, stack: ParseStack, num_left: int, width: int) -> Mask:
        """`[width]`: the tokens after which the text can still parse and end within `num_left` tokens, this one and
        the end token among them.
        """
        flags = self._grammar.flags(stack, num_left)
        if self._further:
            num_allowed = bisect_right(self._grammar.parser.choices(stack).needs, num_left)
            flags = np.concatenate([flags, self._grammar.flags_of(self._further, stack, num_allowed)])
        mask = np.zeros(width, dtype=np.bool_)
        mask[: len(self._groups)] = flags[self._groups]
        return mask
