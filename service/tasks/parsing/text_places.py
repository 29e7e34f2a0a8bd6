"""Places of the sentences, words and multiword tokens of a text, in the unit of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.tasks.core.offsets import OffsetUnit, in_unit
from service.tasks.parsing.segmenter import CutSentence


class TextPlaces:
    """The places of a text that was cut.

    Attributes:
        of_words: start and end of each word of each sentence.
        sentences, multiword_tokens: as in an answer.
    """

    def __init__(self, text: str, cut: Sequence[CutSentence], unit: OffsetUnit) -> None:
        offsets = [place for sentence in cut for place in sentence.places]
        offsets += [(each.start, each.end) for sentence in cut for each in sentence.multiwords]
        places = in_unit(text, tuple(offsets), unit)
        self.of_words: list[Sequence[tuple[int, int]]] = []
        self.sentences: list[dict[str, Any]] = []
        self.multiword_tokens: list[dict[str, Any]] = []
        first, whole = 0, iter(places[sum(len(sentence.places) for sentence in cut) :])
        for sentence in cut:
            size = len(sentence.words)
            self.of_words.append(its := places[first : first + size])
            numbers = {"first_token": first, "num_tokens": size}
            self.sentences.append({"start": its[0][0], "end": its[-1][1], **numbers})
            for token in sentence.multiwords:
                start, end = next(whole)
                numbers = {"first_token": first + token.first_word, "num_tokens": token.num_words}
                self.multiword_tokens.append({"text": token.text, "start": start, "end": end, **numbers})
            first += size
