"""Tokens to text and words: the steps at which words were written, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from service.bundle.tokenizer import EOS, TextTokenizer
from service.tasks.transcription.decoder import Token

Unit = Literal["character", "subword", "word"]


class SpelledText(NamedTuple):
    """A text without blanks around it or doubled; the probability of each token that is not blank, 0 to 1."""

    text: str
    probabilities: list[float]


class SpelledWord(NamedTuple):
    """A word. Its times are those of the steps that wrote its tokens: from `first_step` to before `end_step`."""

    text: str
    first_step: int
    end_step: int
    probabilities: list[float]


class Speller:
    """Spells the tokens of a bundle. Special tokens spell nothing."""

    def __init__(self, tokenizer: TextTokenizer, unit: Unit) -> None:
        self._pieces = [_piece(tokenizer, token_id, unit) for token_id in range(tokenizer.vocabulary_size)]
        self._is_blank = [not piece or piece.isspace() for piece in self._pieces]

    def text(self, tokens: Sequence[Token]) -> SpelledText:
        """The text of some tokens, many times as fast as its words."""
        pieces, is_blank = self._pieces, self._is_blank
        spelled = "".join([pieces[token[0]] for token in tokens])
        return SpelledText(
            " ".join(spelled.split()), [math.exp(log_prob) for number, _, log_prob in tokens if not is_blank[number]]
        )

    def words(self, tokens: Sequence[Token], first_step: int) -> list[SpelledWord]:
        """The words of a text. Their steps are those of the tokens, counted from `first_step` on."""
        spelled: list[tuple[str, list[Token]]] = []
        is_open = False
        for token in tokens:
            piece = self._pieces[token.token_id]
            is_open = is_open and not piece[:1].isspace()
            for number, part in enumerate(piece.split()):
                text, parts = spelled.pop() if is_open and not number else ("", [])
                spelled.append((text + part, [*parts, token]))
                is_open = True
            is_open = is_open and not piece[-1:].isspace()
        return [_word(text, parts, first_step) for text, parts in spelled]


def _word(text: str, tokens: Sequence[Token], first_step: int) -> SpelledWord:
    probabilities = [math.exp(token.log_prob) for token in tokens]
    return SpelledWord(text, first_step + tokens[0].step, first_step + tokens[-1].step + 1, probabilities)


def _piece(tokenizer: TextTokenizer, token_id: int, unit: Unit) -> str:
    """What a token adds to a text, with the blank before or after it."""
    if token_id <= EOS:
        return ""
    if unit == "word":
        return f" {tokenizer.token(token_id)}"
    return tokenizer.text_after(token_id) or tokenizer.token(token_id)
