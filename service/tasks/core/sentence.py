"""A sentence as ids: a text that is split into words, or a list of words, with the places of words in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Generic, TypeVar

from pydantic import Field

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, lengths_of, pad_ids, pad_nested_ids
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput
from service.tasks.core.hidden import HiddenForm, HiddenParameters, formed, mean_states
from service.tasks.core.offsets import Offsets, OffsetUnit, in_unit
from service.tasks.core.task import (
    Array,
    PredictInput,
    Runner,
    require_at_most,
    require_short_text,
    require_words,
    run_with_hidden,
)

#: What an answer says of the place of a word or span.
START_OF_PLACE = (
    "where it begins in the input, in code points or the unit that was asked for; null if the input came as words"
)
END_OF_PLACE = "where it ends, likewise: the place after its last character"


class SentenceParameters(HiddenParameters):
    """How to count the places of words."""

    offsets: OffsetUnit = Field(
        default="codepoints",
        description="unit of `start` and `end`: code points (Python), UTF-16 units (JavaScript, Java, C#), or bytes of "
        "UTF-8 (Go, Rust)",
    )


@dataclass(slots=True)  # not frozen, which takes longer to make than to tokenize a text
class Sentence:
    """One sentence as ids. `text`, `offsets` and `places` are set if the input was a text, not a list of words.

    Attributes:
        offsets: first and last character of each word, in code points.
        places: the same in the unit of the answer.
    """

    words: tuple[str, ...]
    word_ids: list[int]
    character_ids: list[list[int]]
    text: str | None = None
    offsets: Offsets | None = None
    places: Offsets | None = None
    hidden: HiddenForm = ""

    @property
    def length(self) -> int:
        return len(self.word_ids)

    def places_of_words(self) -> Sequence[tuple[int | None, int | None]]:
        """Start and end of each word, for the answer."""
        return [*repeat((None, None), len(self.words))] if self.places is None else self.places


SentenceT = TypeVar("SentenceT", bound=Sentence)


def words_of(
    value: PredictInput, tokenizer: TextTokenizer, max_words: int
) -> tuple[tuple[str, ...], str | None, Offsets | None]:
    """The words of an input; with its text and their offsets in code points if it is a text. Raises InvalidInput."""
    if not isinstance(value, str):
        return require_words(value, max_words), None, None
    pieces = tokenizer.pieces(require_short_text(value, max_words))
    if not pieces:
        raise InvalidInput("the text holds no words")
    require_at_most(len(pieces), max_words, "words")
    offsets = tuple((piece.start, piece.end) for piece in pieces)
    return tuple(piece.text for piece in pieces), value, offsets


class SentenceReader(Generic[SentenceT]):
    """Reads sentences for a bundle, and feeds them to its graph as `words`, `lengths` and perhaps `characters`.

    Args:
        graph: the graph that reads sentences, whose inputs say whether it reads characters.
        made: the class of the sentences.
    """

    def __init__(self, bundle: Bundle, graph: str, max_word_characters: int, made: type[SentenceT]) -> None:
        self._graph = graph
        self._manifest = bundle.manifest
        self._max_words = bundle.manifest.limits.max_input_tokens
        self._max_word_characters = max_word_characters
        self._made = made
        self._words = bundle.tokenizers["words"]
        self._reads_characters = any(tensor.name == "characters" for tensor in bundle.manifest.graphs[graph].inputs)
        self._characters = bundle.tokenizers["characters"] if self._reads_characters else None

    def read(self, value: PredictInput, parameters: SentenceParameters) -> SentenceT:
        """Split a text into words, or take a list of words, and look them up. Raises InvalidInput."""
        hidden = parameters.hidden_form(self._manifest)
        words, text, offsets = words_of(value, self._words, self._max_words)
        places = None if text is None or offsets is None else in_unit(text, offsets, parameters.offsets)
        return self._made(words, self._words.encode_words(words), self._spelled(words), text, offsets, places, hidden)

    def of_words(self, words: tuple[str, ...], hidden: HiddenForm) -> SentenceT:
        """Words of which nothing needs to be checked."""
        return self._made(words, self._words.encode_words(words), self._spelled(words), hidden=hidden)

    def uncut(self, text: str, parameters: SentenceParameters) -> SentenceT:
        """A text that is cut later: the words of the pre-tokenizer, without limit, tell its length alone.

        Raises:
            InvalidInput: it has no words.
        """
        hidden = parameters.hidden_form(self._manifest)
        words = tuple(piece.text for piece in self._words.pieces(text))
        if not words:
            raise InvalidInput("the text holds no words")
        return self._made(words, self._words.encode_words(words), [], text, hidden=hidden)

    def _spelled(self, words: Sequence[str]) -> list[list[int]]:
        limit = self._max_word_characters
        return [self._characters.encode_characters(word, limit) for word in words] if self._characters else []

    def feeds(self, sentences: Sequence[SentenceT]) -> dict[str, Array]:
        """The sentences as one padded batch, with their lengths."""
        sequences = [sentence.word_ids for sentence in sentences]
        feeds: dict[str, Array] = {"words": pad_ids(sequences), "lengths": lengths_of(sequences)}
        if self._reads_characters:
            feeds["characters"] = pad_nested_ids([sentence.character_ids for sentence in sentences])
        return feeds

    def run(
        self, runner: Runner, feeds: dict[str, Array], sentences: Sequence[SentenceT]
    ) -> tuple[dict[str, Array], list[FloatArray | None]]:
        """Run the graph: its outputs, and the hidden state of each sentence that wants it. Raises InferenceFailed."""
        is_hidden = any(sentence.hidden for sentence in sentences)
        run = partial(run_with_hidden, runner) if is_hidden else runner.run
        outputs = run(self._graph, feeds)
        if not is_hidden:
            return outputs, [None] * len(sentences)
        means = mean_states(outputs[HIDDEN_STATES], feeds["lengths"])
        return outputs, formed(means, [sentence.hidden for sentence in sentences])

    def embed(self, runner: Runner, feeds: dict[str, Array]) -> list[Array]:
        """The mean of the hidden states of each sentence. Raises InferenceFailed."""
        return list(mean_states(run_with_hidden(runner, self._graph, feeds)[HIDDEN_STATES], feeds["lengths"]))
