"""What a request says about the texts of an utterance: a word list, boosted phrases, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.tasks.core.probabilities import DoubleArray
from service.tasks.transcription.search.phrases import BoostedPhrases
from service.tasks.transcription.search.spelling import Spelling
from service.tasks.transcription.search.word_list import REFUSED, WordList


class Context(NamedTuple):
    """The states of the two automata after the tokens of a hypothesis."""

    words: int = 0
    phrases: int = 0


#: The context where there is neither a word list nor a phrase.
NO_CONTEXT = Context()


class Extension(NamedTuple):
    """A context after one more token, and what the hypothesis gains: minus infinity if the word list refuses it."""

    context: Context
    gain: float


@dataclass(frozen=True, eq=False)
class Biasing:
    """Follows hypotheses through the automata, token by token."""

    spelling: Spelling
    words: WordList | None = None
    phrases: BoostedPhrases | None = None

    @property
    def start(self) -> Context:
        """The context before the first token."""
        return Context(self.words.start if self.words else 0, self.phrases.start if self.phrases else 0)

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of states of the word list, and of the phrases."""
        return self.words.num_states if self.words else 1, self.phrases.num_states if self.phrases else 1

    def extended(self, context: Context, token_id: int) -> Extension:
        """One more token."""
        text = self.spelling.texts[token_id]
        words, phrases, gain = context.words, context.phrases, 0.0
        if self.words is not None:
            words = self.words.step(words, text)
            if words == REFUSED:
                return Extension(context, -np.inf)
        if self.phrases is not None:
            phrases, gain = self.phrases.step(phrases, text)
        return Extension(Context(words, phrases), gain)

    def after(self, token_ids: Sequence[int]) -> tuple[Context, float]:
        """The context after tokens from the start, and the sum of their gains."""
        context, total = self.start, 0.0
        for token_id in token_ids:
            context, gain = self.extended(context, token_id)
            total += gain
        return context, total

    def gains(self, contexts: Sequence[Context], token_ids: Sequence[int]) -> DoubleArray:
        """`[contexts, tokens]`: what each hypothesis gains by each token."""
        gains = [[self.extended(context, token_id).gain for token_id in token_ids] for context in contexts]
        return np.array(gains, dtype=np.float64).reshape(len(contexts), len(token_ids))

    def gain_at_end(self, context: Context) -> float:
        """What is due when the text ends; minus infinity within a word of the list."""
        if self.words is not None and not self.words.is_complete(context.words):
            return -np.inf
        return 0.0 if self.phrases is None else self.phrases.payment_at_end(context.phrases)

    def num_complete(self, token_ids: Sequence[int]) -> int:
        """How many of the tokens remain without an incomplete word of the list at their end."""
        if self.words is None:
            return len(token_ids)
        state, complete = self.words.start, 0
        for number, token_id in enumerate(token_ids, start=1):
            state = self.words.step(state, self.spelling.texts[token_id])
            if self.words.is_complete(state):
                complete = number
        return complete
