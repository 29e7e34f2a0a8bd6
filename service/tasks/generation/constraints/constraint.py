"""Constraints of one request, compiled for a vocabulary and kept, and the place of a text in its automaton."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import NamedTuple

from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import InvalidInput
from service.tasks.generation.constraints.byte_automaton import START, TooComplexError, byte_automaton
from service.tasks.generation.constraints.pattern import parse_pattern
from service.tasks.generation.constraints.token_automaton import BoolArray, TokenAutomaton
from service.tasks.generation.constraints.token_texts import TokenTexts

MAX_CHOICES = 1000
MAX_CHOICE_CHARACTERS = 256
MAX_BAD_WORDS = 100
MAX_BAD_WORD_CHARACTERS = 64

KEY_BYTES = 16
#: Of the way in which automata number their states, which travel between replicas: a change begins constraints anew.
_NUMBERING = 1

#: Compiled constraints that are kept, the latest. Each takes 7 MiB at most: a table of 2 (`byte_automaton`), masks of 4
#: (`token_automaton`), and the constraint itself.
_NUM_KEPT = 8


class Constraint(NamedTuple):
    """What a text may be. At most one of `choices` and `regex` is given.

    Attributes:
        choices: the text is one of these.
        regex: the whole text matches this pattern; see `parse_pattern`.
        bad_words: strings that the text does not contain.
    """

    choices: tuple[str, ...] = ()
    regex: str | None = None
    bad_words: tuple[str, ...] = ()

    @property
    def key(self) -> bytes:
        """16 bytes that tell it from other constraints. Its automaton numbers its states alike on every replica."""
        written = json.dumps([_NUMBERING, self.choices, self.regex, self.bad_words])
        return hashlib.sha256(written.encode()).digest()[:KEY_BYTES]


class ConstraintCompiler:
    """Compiles constraints for the vocabulary of one model. Threads may share it."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: TokenTexts | None = None
        self._kept: OrderedDict[Constraint, TokenAutomaton] = OrderedDict()

    def is_kept(self, constraint: Constraint) -> bool:
        """Whether it is compiled already, so that it costs nothing."""
        return constraint in self._kept

    def require_context(self, context: str) -> None:
        """Raises InvalidInput if the text before a constrained one lacks what the tokens of this model need.

        A decoder that takes the space off the first word of a text would change what the constraint has allowed.
        """
        if not context and self._texts is not None and self._texts.needs_context:
            raise InvalidInput("a constrained text follows a prompt that ends in tokens this model knows", ("inputs",))

    def compile(self, constraint: Constraint) -> TokenAutomaton:
        """The automaton of a constraint.

        Raises:
            InvalidInput: with a path below "parameters": the constraint is no valid one, is too large, or allows no
                text that this vocabulary can spell.
        """
        compiled = self._kept.pop(constraint, None) or self._compiled(constraint)
        self._kept[constraint] = compiled
        while len(self._kept) > _NUM_KEPT:
            self._kept.popitem(last=False)
        return compiled

    def _compiled(self, constraint: Constraint) -> TokenAutomaton:
        _require_valid(constraint)
        pattern = None if constraint.regex is None else parse_pattern(constraint.regex)
        texts = self._texts = self._texts or TokenTexts(self._tokenizer)
        name = "regex" if constraint.regex is not None else "choices" if constraint.choices else "bad_words"
        try:
            states = byte_automaton(pattern, constraint.choices, constraint.bad_words, texts.repertoire)
            compiled = TokenAutomaton(states, texts)
        except TooComplexError as error:
            raise _refused(name, _TOO_COMPLEX[name]) from error
        for number, choice in enumerate(constraint.choices):
            if not compiled.can_write(choice):
                problem = f"this model cannot write {choice!r}: it has no tokens for it, or a bad word is in it"
                raise InvalidInput(problem, ("parameters", "choices", number))
        if not compiled.can_begin:
            raise _refused(name, _IMPOSSIBLE[name])
        return compiled


class ConstrainedText:
    """The place of one text in its automaton.

    Attributes:
        state: after the tokens so far.
    """

    def __init__(self, automaton: TokenAutomaton, state: int | None = None) -> None:
        """`state` is where an earlier part of the text ended; None, or one that there is not, begins anew."""
        self.state = state if state is not None and automaton.is_alive(state) else START
        self._automaton = automaton

    @property
    def allowed(self) -> BoolArray:
        """`[vocab]`: the tokens that may follow, one at least. The array must not be changed."""
        return self._automaton.allowed(self.state)

    def append(self, token_id: int) -> None:
        """Move on by a token, which must be allowed."""
        if token_id != EOS:
            self.state = self._automaton.after(self.state, token_id)


_TOO_COMPLEX = {
    "regex": "this regular expression is too complex: use fewer and smaller repetitions, or fewer alternatives",
    "choices": "the choices are too long taken together: give fewer or shorter ones",
    "bad_words": "the bad words are too long taken together: give fewer or shorter ones",
}
_IMPOSSIBLE = {
    "regex": "no text that this model can write matches this regular expression, except perhaps the empty text",
    "choices": "this model can write none of the choices",
    "bad_words": "every text that this model can write has a bad word in it",
}


def _require_valid(constraint: Constraint) -> None:
    if constraint.choices and constraint.regex is not None:
        raise _refused("choices", "a text is one of some choices or matches a regular expression: leave one out")
    _require_words("choices", constraint.choices, MAX_CHOICES, MAX_CHOICE_CHARACTERS)
    _require_words("bad_words", constraint.bad_words, MAX_BAD_WORDS, MAX_BAD_WORD_CHARACTERS)


def _require_words(name: str, words: tuple[str, ...], max_words: int, max_characters: int) -> None:
    if len(words) > max_words:
        raise _refused(name, f"{len(words):,} were given, at most {max_words:,} are allowed")
    for number, word in enumerate(words):
        if not 1 <= len(word) <= max_characters or any(0xD800 <= ord(character) < 0xE000 for character in word):
            message = f"must be a text of 1 to {max_characters} characters"
            raise InvalidInput(message, ("parameters", name, number))


def _refused(name: str, message: str) -> InvalidInput:
    return InvalidInput(message, ("parameters", name))
