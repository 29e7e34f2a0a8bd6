"""The parameters of a request that say what to search for; their lists are bounded."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from service.tasks.core.task import Parameters

MAX_WORDS: Final = 1000
MAX_PHRASES: Final = 100
MAX_KEYWORDS: Final = 100
MAX_CHARACTERS: Final = 64
#: As many hypotheses for what greedy decoding cannot do, where neither request nor model name a number.
DEFAULT_BEAMS: Final = 8

ShortText = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]


class SearchParameters(Parameters):
    """Beam search, and the words that are expected. Defaults are in the model's manifest."""

    num_beams: int | None = Field(
        default=None,
        ge=1,
        le=32,
        description=f"texts that are followed; 1 is greedy decoding, and with a word list, phrases or a weight of the "
        f"language model {DEFAULT_BEAMS} are taken if the model names no number",
    )
    language_model_weight: float | None = Field(
        default=None, ge=0.0, le=2.0, description="of the language model in the score of a text; 0 leaves it out"
    )
    vocabulary: list[ShortText] | None = Field(
        default=None, min_length=1, max_length=MAX_WORDS, description="word list: only these words are written"
    )
    phrases: list[ShortText] | None = Field(
        default=None, min_length=1, max_length=MAX_PHRASES, description="words and phrases that are expected"
    )
    phrase_boost: float = Field(
        default=1.0,
        ge=0.0,
        le=10.0,
        description="added to the log-probability of a text for each character of a phrase in it, or for each word if "
        "the model's tokens are words",
    )
    keywords: list[ShortText] | None = Field(
        default=None, min_length=1, max_length=MAX_KEYWORDS, description="words and phrases to be told of when heard"
    )
    keyword_threshold: float = Field(
        default=0.5, ge=0.0, le=1.0, description="least confidence of a keyword; lower finds more, and more that is not"
    )

    @property
    def needs_beams(self) -> bool:
        """Whether greedy decoding cannot do it."""
        return bool(self.vocabulary or self.phrases or self.language_model_weight)

    @property
    def num_characters(self) -> int:
        """Of all lists: what a decoder for them holds grows with it."""
        return sum(len(text) for one in (self.vocabulary, self.phrases, self.keywords) if one for text in one)

    @property
    def search_key(self) -> tuple[object, ...]:
        """Equal for requests that are decoded alike."""
        lists = tuple(None if one is None else tuple(one) for one in (self.vocabulary, self.phrases, self.keywords))
        return (self.num_beams, self.language_model_weight, self.phrase_boost, self.keyword_threshold, *lists)
