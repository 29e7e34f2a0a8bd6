"""Tokens to words: their text, the steps at which they were written, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from service.bundle.tokenizer import EOS, TextTokenizer
from service.tasks.transcription.decoder import Token

Unit = Literal["character", "subword", "word"]


@dataclass(slots=True)
class SpelledWord:
    """A word, and the tokens that spell it. Times of a word are those of the steps that wrote its tokens."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)

    @property
    def first_step(self) -> int:
        return self.tokens[0].step

    @property
    def end_step(self) -> int:
        """The step after that of its last token."""
        return self.tokens[-1].step + 1

    @property
    def confidence(self) -> float:
        """Mean probability of its tokens, 0 to 1."""
        return confidence_of([self])


def confidence_of(words: Iterable[SpelledWord]) -> float:
    """Mean probability of the tokens of some words, 0 to 1."""
    probabilities = [math.exp(token.log_prob) for word in words for token in word.tokens]
    return sum(probabilities) / len(probabilities)


class Speller:
    """Spells the tokens of a bundle. Special tokens spell nothing."""

    def __init__(self, tokenizer: TextTokenizer, unit: Unit) -> None:
        self._pieces = [_piece(tokenizer, token_id, unit) for token_id in range(tokenizer.vocabulary_size)]

    def words(self, tokens: Sequence[Token]) -> list[SpelledWord]:
        """The words of a text without blanks around or between them."""
        words, is_open = list[SpelledWord](), False
        for token in tokens:
            piece = self._pieces[token.token_id]
            is_open = is_open and not piece[:1].isspace()
            for number, part in enumerate(piece.split()):
                if number or not is_open:
                    words.append(SpelledWord())
                    is_open = True
                words[-1].text += part
                words[-1].tokens.append(token)
            is_open = is_open and not piece[-1:].isspace()
        return words


def _piece(tokenizer: TextTokenizer, token_id: int, unit: Unit) -> str:
    """What a token adds to a text, with the blank before or after it."""
    if token_id <= EOS:
        return ""
    if unit == "word":
        return f" {tokenizer.token(token_id)}"
    return tokenizer.text_after(token_id) or tokenizer.token(token_id)
