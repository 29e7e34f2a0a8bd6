"""Tagging: a tag for every word, the spans that the tags form, and for joint models a label of the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, IntArray, lengths_of, pad_ids, pad_nested_ids
from service.bundle.task_options import TaggingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.chunk_state import (
    ChunkState,
    RowState,
    require_value,
    rows_after,
    state_after,
    state_before,
    states_before,
)
from service.tasks.core.hidden import HiddenForm, HiddenParameters, finite_numbers, formed, mean_states
from service.tasks.core.predict_task import ChunkReader, PredictTask
from service.tasks.core.probabilities import DoubleArray, most_probable
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    Array,
    InputStatistics,
    PredictInput,
    Runner,
    input_statistics_of,
    require_at_most,
    require_short_text,
    require_words,
    run_with_hidden,
)
from service.tasks.single_pass.crf import marginals, viterbi
from service.tasks.core.offsets import Offsets, OffsetUnit, in_unit
from service.tasks.single_pass.spans import Span, bio_spans


class TaggingParameters(HiddenParameters):
    """How to count the places of words and spans."""

    offsets: OffsetUnit = Field(
        default="codepoints",
        description="unit of `start` and `end`: code points (Python), UTF-16 units (JavaScript, Java, C#), or bytes of "
        "UTF-8 (Go, Rust)",
    )


_START = "where it begins in the input, in code points or the unit that was asked for; null if the input came as words"
_END = "where it ends, likewise: the place after its last character"


class TaggedToken(Answer):
    """A word and its tag."""

    text: str
    tag: str
    score: float = Field(description="probability of the tag, 0 to 1")
    start: int | None = Field(description=_START)
    end: int | None = Field(description=_END)


class TaggedSpan(Answer):
    """Adjacent words that form a unit, such as a name."""

    label: str
    text: str
    score: float = Field(description="mean of the scores of its tokens")
    start: int | None = Field(description=_START)
    end: int | None = Field(description=_END)
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


@dataclass(slots=True)  # not frozen, which takes longer to make than to tokenize a text
class TaggingExample:
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
    before: ChunkState | None = None
    hidden: HiddenForm = ""

    @property
    def length(self) -> int:
        return len(self.word_ids)


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


class Tagging(PredictTask[TaggingExample, TaggingOutput]):
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
        self._max_tokens = manifest.limits.max_input_tokens
        self._words = bundle.tokenizers["words"]
        self._reads_characters = any(tensor.name == "characters" for tensor in manifest.graphs["tagger"].inputs)
        self._characters = bundle.tokenizers["characters"] if self._reads_characters else None
        self._transitions = bundle.transitions

    def preprocess(self, value: PredictInput, parameters: TaggingParameters) -> TaggingExample:
        """Split a text into words, or take a list of words, and look them up."""
        hidden = parameters.hidden_form(self._manifest)
        if not isinstance(value, str):
            return self._encode(require_words(value, self._max_tokens), hidden)
        text = require_short_text(value, self._max_tokens)
        pieces = self._words.pieces(text)
        if not pieces:
            raise InvalidInput("the text holds no words")
        require_at_most(len(pieces), self._max_tokens, "words")
        offsets = tuple((piece.start, piece.end) for piece in pieces)
        places = in_unit(text, offsets, parameters.offsets)
        return self._encode(tuple(piece.text for piece in pieces), hidden, text, offsets, places)

    def run(self, runner: Runner, examples: Sequence[TaggingExample]) -> list[TaggingOutput]:
        is_hidden = any(example.hidden for example in examples)
        run = partial(run_with_hidden, runner) if is_hidden else runner.run
        feeds = self._feeds(examples)
        outputs = run("tagger", feeds)
        afters = rows_after(self._manifest.state, outputs, len(examples))
        rows = decoded(outputs["emissions"], feeds["lengths"], afters, self._transitions)
        if self._text_labels:
            rows = with_text_labels(rows, outputs["text_logits"])
        if not is_hidden:
            return rows
        means = mean_states(outputs[HIDDEN_STATES], feeds["lengths"])
        vectors = formed(means, [example.hidden for example in examples])
        return [row._replace(hidden=vector) for row, vector in zip(rows, vectors, strict=True)]

    def embed(self, runner: Runner, examples: Sequence[TaggingExample]) -> list[Array]:
        feeds = self._feeds(examples)
        return list(mean_states(run_with_hidden(runner, "tagger", feeds)[HIDDEN_STATES], feeds["lengths"]))

    def _feeds(self, examples: Sequence[TaggingExample]) -> dict[str, Array]:
        sequences = [example.word_ids for example in examples]
        feeds: dict[str, Array] = {"words": pad_ids(sequences), "lengths": lengths_of(sequences)}
        if self._reads_characters:
            feeds["characters"] = pad_nested_ids([example.character_ids for example in examples])
        return feeds | states_before(self._manifest.state, [example.before for example in examples])

    def plain_answer(self, example: TaggingExample, output: TaggingOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values, several times faster to build and serialise.

        Raises:
            InferenceFailed: if the emissions are not finite.
        """
        if not output.is_finite:
            raise InferenceFailed("the model computed tag scores that are not finite numbers")
        tags = [self._labels[label] for label in output.label_ids]
        places = repeat((None, None), len(tags)) if example.places is None else example.places
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

    @property
    def chunks(self) -> ChunkReader[TaggingExample, TaggingOutput, ChunkState]:
        return self

    def chunk(
        self,
        value: PredictInput | None,
        parameters: TaggingParameters,
        before: ChunkState | bytes | None,
        is_last: bool,
    ) -> TaggingExample:
        state = state_before(self._manifest, before)
        return replace(self.preprocess(require_value(value), parameters), before=state)

    def answers(self, plain_answer: Any) -> list[Any]:
        return [plain_answer]

    def state_after(self, example: TaggingExample, output: TaggingOutput) -> ChunkState:
        return state_after(self._manifest, output.after, example.before, example.length)

    def _encode(
        self,
        words: tuple[str, ...],
        hidden: HiddenForm,
        text: str | None = None,
        offsets: Offsets | None = None,
        places: Offsets | None = None,
    ) -> TaggingExample:
        limit = self._options.max_word_characters
        spelled = [self._characters.encode_characters(word, limit) for word in words] if self._characters else []
        return TaggingExample(words, self._words.encode_words(words), spelled, text, offsets, places, hidden=hidden)


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
