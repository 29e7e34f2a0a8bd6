"""Tagging: a tag for every word, the spans that the tags form, and for joint models a label of the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, IntArray
from service.bundle.task_options import TaggingOptions
from service.errors import InferenceFailed
from service.tasks.core.chunk_state import (
    ChunkState,
    RowState,
    rows_after,
    states_before,
)
from service.tasks.core.chunked_task import ChunkedTask
from service.tasks.core.hidden import finite_numbers
from service.tasks.core.probabilities import DoubleArray, most_probable
from service.tasks.core.sentence import END_OF_PLACE, START_OF_PLACE, Sentence, SentenceParameters, SentenceReader
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    Array,
    InputStatistics,
    PredictInput,
    Runner,
    input_statistics_of,
)
from service.tasks.single_pass.crf import marginals, viterbi
from service.tasks.single_pass.spans import Span, bio_spans


class TaggingParameters(SentenceParameters):
    """How to count the places of words and spans."""


class TaggedToken(Answer):
    """A word and its tag."""

    text: str
    tag: str
    score: float = Field(description="probability of the tag, 0 to 1")
    start: int | None = Field(description=START_OF_PLACE)
    end: int | None = Field(description=END_OF_PLACE)


class TaggedSpan(Answer):
    """Adjacent words that form a unit, such as a name."""

    label: str
    text: str
    score: float = Field(description="mean of the scores of its tokens")
    start: int | None = Field(description=START_OF_PLACE)
    end: int | None = Field(description=END_OF_PLACE)
    first_token: int = Field(description="index of its first token")
    end_token: int = Field(description="index of the token after its last")


class TaggingAnswer(Answer):
    """Every word with its tag; `spans` only if the tags form spans, `label` only if the model labels texts too."""

    tokens: list[TaggedToken]
    spans: list[TaggedSpan] | None = Field(default=None, exclude_if=lambda spans: spans is None)
    label: str | None = Field(
        default=None, exclude_if=lambda label: label is None, description="of the whole text, such as an intent"
    )
    label_score: float | None = Field(
        default=None, exclude_if=lambda score: score is None, description="probability of the label, 0 to 1"
    )
    hidden: list[float] | None = Field(
        default=None,
        exclude_if=lambda hidden: hidden is None,
        description="the mean of the hidden states of its words, if requested",
    )


@dataclass(slots=True)
class TaggingExample(Sentence):
    """One sentence as ids, and the state that was computed from the words before it."""

    before: ChunkState | None = None


class TextLabel(NamedTuple):
    """The label of a whole text, as an index into the text labels, and its probability."""

    label_id: int
    score: float


class TaggingOutput(NamedTuple):
    """The tag of each word of one sentence, as an index into the labels, and its probability."""

    label_ids: list[int]
    scores: list[float]
    is_finite: bool
    after: RowState | None
    text_label: TextLabel | None = None
    hidden: FloatArray | None = None


class Tagging(ChunkedTask[TaggingExample, TaggingOutput]):
    """Tags words. A bundle with state reads its text in chunks (`ChunkReader`)."""

    parameters_type = TaggingParameters
    answer_type = TaggingAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, TaggingOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for tagging")
        self._manifest = manifest
        self._options = manifest.options
        self._labels = manifest.labels
        self._text_labels = manifest.text_labels
        self._reader = SentenceReader(bundle, "tagger", self._options.max_word_characters, TaggingExample)
        self._transitions = bundle.transitions

    def preprocess(self, value: PredictInput, parameters: TaggingParameters) -> TaggingExample:
        """Split a text into words, or take a list of words, and look them up."""
        return self._reader.read(value, parameters)

    def run(self, runner: Runner, examples: Sequence[TaggingExample]) -> list[TaggingOutput]:
        feeds = self._feeds(examples)
        outputs, vectors = self._reader.run(runner, feeds, examples)
        afters = rows_after(self._manifest.state, outputs, len(examples))
        rows = decoded(outputs["emissions"], feeds["lengths"], afters, self._transitions)
        if self._text_labels:
            rows = with_text_labels(rows, outputs["text_logits"])
        if not any(example.hidden for example in examples):
            return rows
        return [row._replace(hidden=vector) for row, vector in zip(rows, vectors, strict=True)]

    def embed(self, runner: Runner, examples: Sequence[TaggingExample]) -> list[Array]:
        return self._reader.embed(runner, self._feeds(examples))

    def _feeds(self, examples: Sequence[TaggingExample]) -> dict[str, Array]:
        before = states_before(self._manifest.state, [example.before for example in examples])
        return self._reader.feeds(examples) | before

    def plain_answer(self, example: TaggingExample, output: TaggingOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values, several times faster to build and serialise.

        Raises:
            InferenceFailed: if the emissions are not finite.
        """
        if not output.is_finite:
            raise InferenceFailed("the model computed tag scores that are not finite numbers")
        tags = [self._labels[label] for label in output.label_ids]
        places = example.places_of_words()
        tokens = [
            {"text": word, "tag": tag, "score": score, "start": start, "end": end}
            for word, tag, score, (start, end) in zip(example.words, tags, output.scores, places, strict=True)
        ]
        answer: dict[str, Any] = {"tokens": tokens}
        if self._options.scheme is not None:
            answer["spans"] = [_span(example, tokens, span) for span in bio_spans(tags)]
        if output.text_label is not None:
            answer["label"] = self._text_labels[output.text_label.label_id]
            answer["label_score"] = output.text_label.score
        if output.hidden is not None:
            answer["hidden"] = finite_numbers(output.hidden)
        return answer

    def postprocess(self, example: TaggingExample, output: TaggingOutput) -> TaggingAnswer:
        return TaggingAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: TaggingExample) -> InputStatistics:
        return input_statistics_of(example.word_ids)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """The labels of the spans, or the tags if they form none, and the label of the text if there is one.

        The confidence is the mean score of the words, or the score of the text label if that is lower.
        """
        tokens = plain_answer["tokens"]
        spans = plain_answer.get("spans")
        labels = [token["tag"] for token in tokens] if spans is None else [span["label"] for span in spans]
        confidence = sum([token["score"] for token in tokens]) / len(tokens)
        if "label" not in plain_answer:
            return AnswerStatistics(labels, confidence)
        return AnswerStatistics([*labels, plain_answer["label"]], min(confidence, plain_answer["label_score"]))


def decoded(
    emissions: Array, lengths: IntArray, afters: Sequence[RowState | None], transitions: Array | None = None
) -> list[TaggingOutput]:
    """The tags of a padded batch of emissions `[batch, time, labels]`.

    Without `transitions`, the best tag of each word with its probability; with them (CRF), the best sequence of tags of
    each sentence, with marginal probabilities. Values beyond the length of a row are ignored.
    """
    finite = np.isfinite(emissions)
    is_padding = np.arange(emissions.shape[1]) >= lengths[:, None]
    is_finite = np.all(finite.all(axis=2) | is_padding, axis=1)
    if not finite.all():
        emissions = np.where(finite, emissions, 0.0)
    label_ids, scores = most_probable(emissions) if transitions is None else _best(emissions, lengths, transitions)
    rows = zip(label_ids.tolist(), scores.tolist(), is_finite.tolist(), lengths.tolist(), afters, strict=True)
    return [TaggingOutput(ids[:end], chances[:end], finite, after) for ids, chances, finite, end, after in rows]


def with_text_labels(rows: Sequence[TaggingOutput], text_logits: Array) -> list[TaggingOutput]:
    """The rows with the most likely label of each text, from logits `[batch, text labels]`."""
    finite = np.asarray(np.isfinite(text_logits).all(axis=1))
    label_ids, scores = most_probable(np.where(finite[:, None], text_logits, 0.0))
    labels = zip(label_ids.tolist(), scores.tolist(), finite.tolist(), strict=True)
    return [
        row._replace(is_finite=row.is_finite and is_finite, text_label=TextLabel(label_id, score))
        for row, (label_id, score, is_finite) in zip(rows, labels, strict=True)
    ]


def _best(emissions: Array, lengths: IntArray, transitions: Array) -> tuple[IntArray, DoubleArray]:
    label_ids = viterbi(emissions, lengths, transitions)
    probabilities = marginals(emissions, lengths, transitions)
    return label_ids, np.take_along_axis(probabilities, label_ids[..., None], axis=2)[..., 0]


def _span(example: TaggingExample, tokens: Sequence[dict[str, Any]], span: Span) -> dict[str, Any]:
    members = tokens[span.start : span.end]
    score = sum(token["score"] for token in members) / len(members)
    places = {"start": members[0]["start"], "end": members[-1]["end"]}
    positions = {"first_token": span.start, "end_token": span.end}
    return {"label": span.label, "text": _text_of(example, span), "score": score, **places, **positions}


def _text_of(example: TaggingExample, span: Span) -> str:
    """As it stands in the text, or its words with blanks between them if the input came as words."""
    if example.text is None or example.offsets is None:
        return " ".join(example.words[span.start : span.end])
    return example.text[example.offsets[span.start][0] : example.offsets[span.end - 1][1]]
