"""The characters that each token of a model stands for, and the words of a request in them.

A word list and boosted phrases are followed character by character, whatever the model's tokens are: of subwords any
division of a word is good. Words are divided by blanks. Tokens that are subwords or words bring the blank before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import InvalidInput

Unit = Literal["character", "subword", "word"]

#: How the tokenizers of subwords write a blank (Kudo and Richardson 2018).
_SUBWORD_BLANK = "\u2581"
#: Of a longer alphabet or vocabulary an error lists only the beginning.
_MAX_LISTED = 60


class Spelling:
    """What each token adds to a text.

    Attributes:
        texts: by token id; "" for special tokens.
        begins_with_blank: whether the first token of a text brings a blank that is not written.
    """

    def __init__(self, tokenizer: TextTokenizer, unit: Unit) -> None:
        tokens = [tokenizer.token(token_id) for token_id in range(EOS + 1, tokenizer.vocabulary_size)]
        self.unit = unit
        self.texts = ("",) * (EOS + 1) + tuple(_text(token, unit) for token in tokens)
        self.begins_with_blank = unit != "character"
        self._alphabet = frozenset("".join(self.texts))
        self._words = frozenset(tokens) if unit == "word" else frozenset()

    def normalized(self, text: str, field: Sequence[str | int]) -> str:
        """A word or phrase with single blanks, in the case that the model writes.

        Raises:
            InvalidInput: it is empty, or holds what the model cannot write; the message names it.
        """
        plain = " ".join(text.split())
        if not plain:
            raise InvalidInput("the text is empty", field)
        for form in (plain, plain.lower(), plain.upper()):
            if not self._strangers(form):
                return form
        raise InvalidInput(self._refusal(plain), field)

    def _strangers(self, text: str) -> list[str]:
        """The words, of a model of words, or else the characters that are not in the vocabulary."""
        parts, known = (text.split(), self._words) if self.unit == "word" else (list(text), self._alphabet)
        # A model without a blank token writes single words, so that a blank is strange to it.
        return [part for part in dict.fromkeys(parts) if part not in known]

    def _refusal(self, text: str) -> str:
        strangers = min((self._strangers(form) for form in (text, text.lower(), text.upper())), key=len)
        if self.unit == "word":
            near = get_close_matches(strangers[0].lower(), self._words, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{strangers[0]!r} is not a word of this model; it knows {_listed(sorted(self._words))}{hint}"
        named = ", ".join(repr(character) for character in strangers[:10])
        return (
            f"{text[:80]!r} holds {named}, which this model cannot write; it knows {_listed_alphabet(self._alphabet)}"
        )


def _text(token: str, unit: Unit) -> str:
    if unit == "word":
        return f" {token}"
    return token.replace(_SUBWORD_BLANK, " ") if unit == "subword" else token


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MAX_LISTED} more" if len(words) > _MAX_LISTED else ""
    return ", ".join(words[:_MAX_LISTED]) + more


def _listed_alphabet(alphabet: frozenset[str]) -> str:
    signs = sorted(alphabet - {" "})
    more = f" and {len(signs) - _MAX_LISTED} more" if len(signs) > _MAX_LISTED else ""
    return "".join(signs[:_MAX_LISTED]) + (" and the blank" if " " in alphabet else "") + more
