"""Tagging: one label for every word, and the spans that the labels form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.manifest import TaggingOptions
from service.bundle.padding import IntArray, lengths_of, pad_ids, pad_nested_ids
from service.errors import InvalidInput
from service.tasks.base import (
    Answer,
    Array,
    Parameters,
    Runner,
    require_at_most,
    require_short_text,
    require_words,
)
from service.tasks.crf import marginals, viterbi
from service.tasks.probabilities import DoubleArray, require_finite, softmax
from service.tasks.spans import Span, bio_spans


class TaggingParameters(Parameters):
    """A tagger leaves nothing to choose."""


class TaggedToken(Answer):
    """A word and its tag."""

    text: str
    tag: str
    score: float = Field(description="probability of the tag, 0 to 1")
    start: int | None = Field(description="first character in the input; null if the input came as words")
    end: int | None = Field(description="character after the last; null if the input came as words")


class TaggedSpan(Answer):
    """Neighbouring words that form one thing, such as a name."""

    label: str
    text: str
    score: float = Field(description="mean of the scores of its tokens")
    start: int | None = Field(description="first character in the input; null if the input came as words")
    end: int | None = Field(description="character after the last; null if the input came as words")
    first_token: int = Field(description="index of its first token")
    end_token: int = Field(description="index of the token after its last")


class TaggingAnswer(Answer):
    """Every word with its tag; `spans` only if the model's tags form spans."""

    tokens: list[TaggedToken]
    spans: list[TaggedSpan] | None = Field(default=None, exclude_if=lambda spans: spans is None)


@dataclass(frozen=True)
class TaggingExample:
    """One sentence, encoded. `text` and `offsets` are there if the input was running text."""

    words: tuple[str, ...]
    word_ids: list[int]
    character_ids: list[list[int]]
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] | None = None

    @property
    def length(self) -> int:
        return len(self.word_ids)


class Tagging:
    """Words to tags. The output of `run` for one example is its emissions, float32 `[time, labels]`."""

    parameters_type = TaggingParameters

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TaggingOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for tagging")
        self._options = manifest.options
        self._labels = manifest.labels
        self._max_tokens = manifest.limits.max_input_tokens
        self._words = bundle.tokenizers["words"]
        self._reads_characters = any(tensor.name == "characters" for tensor in manifest.graphs["tagger"].inputs)
        self._characters = bundle.tokenizers["characters"] if self._reads_characters else None
        self._transitions = bundle.transitions

    def preprocess(self, value: str | Sequence[str], parameters: TaggingParameters) -> TaggingExample:
        """Cut running text into words, or take the words as they come, and look them up."""
        del parameters  # part of the protocol; a tagger has none
        if not isinstance(value, str):
            return self._encode(require_words(value, self._max_tokens))
        text = require_short_text(value, self._max_tokens)
        pieces = self._words.pieces(text)
        if not pieces:
            raise InvalidInput("the text holds no words")
        require_at_most(len(pieces), self._max_tokens, "words")
        offsets = tuple((piece.start, piece.end) for piece in pieces)
        return self._encode(tuple(piece.text for piece in pieces), text, offsets)

    def run(self, runner: Runner, examples: Sequence[TaggingExample]) -> list[Array]:
        lengths = lengths_of([example.word_ids for example in examples])
        feeds = {"words": pad_ids([example.word_ids for example in examples]), "lengths": lengths}
        if self._reads_characters:
            feeds["characters"] = pad_nested_ids([example.character_ids for example in examples])
        emissions = runner.run("tagger", feeds)["emissions"]
        return [emissions[row, :length].copy() for row, length in enumerate(lengths)]

    def postprocess(self, example: TaggingExample, output: Array) -> TaggingAnswer:
        label_ids, scores = self.decode(output)
        tags = [self._labels[label] for label in label_ids]
        offsets = example.offsets or [(None, None)] * len(tags)
        tokens = [
            TaggedToken(text=word, tag=tag, score=float(score), start=start, end=end)
            for word, tag, score, (start, end) in zip(example.words, tags, scores, offsets, strict=True)
        ]
        if self._options.scheme is None:
            return TaggingAnswer(tokens=tokens)
        return TaggingAnswer(tokens=tokens, spans=[_span(example, tokens, span) for span in bio_spans(tags)])

    def decode(self, emissions: Array) -> tuple[IntArray, DoubleArray]:
        """`[time]` label ids and `[time]` their probabilities, for emissions `[time, labels]`.

        Raises:
            InferenceFailed: if the emissions are not finite.
        """
        require_finite(emissions, "tag scores")
        if self._transitions is None:
            label_ids, probabilities = emissions.argmax(axis=1), softmax(emissions)
        else:
            label_ids, probabilities = viterbi(emissions, self._transitions), marginals(emissions, self._transitions)
        return label_ids, probabilities[np.arange(len(label_ids)), label_ids]

    def _encode(
        self, words: tuple[str, ...], text: str | None = None, offsets: tuple[tuple[int, int], ...] | None = None
    ) -> TaggingExample:
        limit = self._options.max_word_characters
        spelled = [self._characters.encode_characters(word, limit) for word in words] if self._characters else []
        return TaggingExample(words, self._words.encode_words(words), spelled, text, offsets)


def _span(example: TaggingExample, tokens: Sequence[TaggedToken], span: Span) -> TaggedSpan:
    members = tokens[span.start : span.end]
    start, end = members[0].start, members[-1].end
    text = " ".join(example.words[span.start : span.end]) if example.text is None else example.text[start:end]
    score = sum(token.score for token in members) / len(members)
    return TaggedSpan(
        label=span.label,
        text=text,
        score=score,
        start=start,
        end=end,
        first_token=span.start,
        end_token=span.end,
    )
