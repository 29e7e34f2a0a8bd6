"""The parameters of speech recognition, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from service.tasks.core.task import Answer
from service.tasks.transcription.search.parameters import SearchParameters
from service.tasks.transcription.spelling import Speller
from service.tasks.transcription.utterances import Utterance, first_step_of


class TranscriptionParameters(SearchParameters):
    """What to tell besides the text, and where utterances end. Defaults are in the model's manifest."""

    words: bool = Field(default=False, description="also return the words with their times and confidences")
    endpoint_ms: float | None = Field(
        default=None, ge=0.0, le=10_000.0, description="silence that ends an utterance; 0 never ends one"
    )


_START = "where it begins in the input, in seconds; null if the model does not know the duration of its frames"
_END = "where it ends, likewise"


class TranscribedWord(Answer):
    """A word, and when it was heard: a model that reads forward only is some tenths of a second late."""

    word: str
    start_s: float | None = Field(description=_START)
    end_s: float | None = Field(description=_END)
    confidence: float = Field(description="mean probability of its tokens, 0 to 1")


class SpottedKeyword(Answer):
    """A keyword that was asked for and heard."""

    keyword: str
    time_s: float | None = Field(description="where it ends in the input, in seconds")
    confidence: float = Field(description="0 to 1")


class Transcript(Answer):
    """What was said: in a whole input, or in one utterance of a stream."""

    text: str = Field(description="empty if nothing was heard")
    confidence: float | None = Field(description="mean probability of its tokens, 0 to 1; null for an empty text")
    start_s: float | None = Field(description="where its first word begins in the input, in seconds")
    end_s: float | None = Field(description="up to where the input was read for it, in seconds")
    is_final: bool = Field(description="false for an utterance that may go on, and change")
    words: list[TranscribedWord] | None = Field(
        default=None, exclude_if=lambda words: words is None, description="if they were asked for"
    )
    keywords: list[SpottedKeyword] | None = Field(
        default=None, exclude_if=lambda keywords: keywords is None, description="those found, if some were asked for"
    )


class TranscriptWriter:
    """Writes answers as JSON values, for steps of `step_s` seconds; 0 for unknown."""

    def __init__(self, speller: Speller, step_s: float) -> None:
        self._speller, self._step_s = speller, step_s

    def write(self, utterances: Sequence[Utterance], end_s: float, is_final: bool) -> dict[str, Any]:
        """The transcript of some utterances, joined. Times are at most `end_s`, where the sound ends that was read."""
        spelled = [self._speller.text(utterance.tokens) for utterance in utterances]
        probabilities = [probability for one in spelled for probability in one.probabilities]
        first = next((one.first_step + first_step_of(one) for one in utterances), 0)
        return {
            "text": " ".join([one.text for one in spelled if one.text]),
            "confidence": sum(probabilities) / len(probabilities) if probabilities else None,
            "start_s": self._time(first, end_s),
            "end_s": self._time(None, end_s),
            "is_final": is_final,
        }

    def words(self, utterances: Sequence[Utterance], end_s: float) -> list[dict[str, Any]]:
        """Words with their times."""
        words = [word for one in utterances for word in self._speller.words(one.tokens, one.first_step)]
        return [
            {
                "word": word.text,
                "start_s": self._time(word.first_step, end_s),
                "end_s": self._time(word.end_step, end_s),
                "confidence": sum(word.probabilities) / len(word.probabilities),
            }
            for word in words
        ]

    def keywords(self, utterances: Sequence[Utterance], end_s: float) -> list[dict[str, Any]]:
        """Keywords with their times."""
        return [
            {
                "keyword": found.keyword,
                "time_s": self._time(one.first_step + found.step + 1, end_s),
                "confidence": found.confidence,
            }
            for one in utterances
            for found in one.keywords
        ]

    def _time(self, step: int | None, end_s: float) -> float | None:
        """Where a step begins, in seconds to the millisecond."""
        if not self._step_s:
            return None
        return round(end_s if step is None else min(step * self._step_s, end_s), 3)
