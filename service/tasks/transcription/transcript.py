"""The parameters of speech recognition, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from service.tasks.core.task import Answer
from service.tasks.transcription.decoder import FoundKeyword
from service.tasks.transcription.search.parameters import SearchParameters
from service.tasks.transcription.spelling import SpelledWord, confidence_of


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

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s

    def write(
        self, words: Sequence[SpelledWord], keywords: Sequence[FoundKeyword], end_s: float, is_final: bool
    ) -> dict[str, Any]:
        """A transcript without its words. Times are at most `end_s`, where the sound ends that was read."""
        firsts = [*(word.first_step for word in words[:1]), *(found.step for found in keywords[:1])]
        return {
            "text": " ".join([word.text for word in words]),
            "confidence": confidence_of(words) if words else None,
            "start_s": self._time(min(firsts, default=0), end_s),
            "end_s": self._time(None, end_s),
            "is_final": is_final,
        }

    def words(self, words: Sequence[SpelledWord], end_s: float) -> list[dict[str, Any]]:
        """Words with their times."""
        return [
            {
                "word": word.text,
                "start_s": self._time(word.first_step, end_s),
                "end_s": self._time(word.end_step, end_s),
                "confidence": word.confidence,
            }
            for word in words
        ]

    def keywords(self, keywords: Sequence[FoundKeyword], end_s: float) -> list[dict[str, Any]]:
        """Keywords with their times."""
        return [
            {"keyword": found.keyword, "time_s": self._time(found.step + 1, end_s), "confidence": found.confidence}
            for found in keywords
        ]

    def _time(self, step: int | None, end_s: float) -> float | None:
        """Where a step begins, in seconds to the millisecond."""
        if not self._step_s:
            return None
        return round(end_s if step is None else min(step * self._step_s, end_s), 3)
