"""Answers of tasks as tensors. Rows of different lengths are filled up with empty texts, and with 0 or -1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from service.api.protocols.open_inference.tensors.messages import BYTES, Tensor, TensorMetadata, numbers, texts
from service.bundle.manifest import Manifest
from service.bundle.task_options import (
    ForecastingOptions,
    ParsingOptions,
    TaggingOptions,
    TranscriptionOptions,
    VideoOptions,
)
from service.inference.engines.predict_engine import Prediction
from service.tasks.parsing.conllu import answer_conllu

#: Makes the tensor of a name from a prediction and the shape of what has one element for each input.
Writer = Callable[[str, Prediction, tuple[int, ...]], Tensor]

TEXT_OUTPUT = "text_output"
_BATCH = (-1,)


class TaskOutputs(Protocol):
    """What a task gives."""

    @property
    def metadata(self) -> Sequence[TensorMetadata]:
        """The outputs of an answer where none are named."""
        ...

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """The names of the elements of the last axis, for outputs that have one for each label."""
        ...

    @property
    def writers(self) -> Mapping[str, Writer]:
        """For every output, by name; those besides `metadata` are made on request."""
        ...


def task_outputs(manifest: Manifest) -> TaskOutputs:
    """The outputs of a bundle that predicts."""
    match manifest.options:
        case TaggingOptions() as options:
            return TagOutputs(has_spans=options.scheme is not None, labels_texts=bool(manifest.text_labels))
        case ParsingOptions() as options:
            return TreeOutputs(
                has_features=bool(options.features),
                has_lemmas=options.lemmatizer is not None,
                cuts_text=options.segmenter is not None,
            )
        case ForecastingOptions() as options:
            return ForecastOutputs(options)
        case TranscriptionOptions():
            return TranscriptOutputs()
        case VideoOptions():
            return ClipOutputs()
    return LabelOutputs(manifest.labels) if manifest.task == "classification" else TextOutputs()


class LabelOutputs:
    """The best label with its probability, and the probabilities of all labels.

    Where the parameter `top_k` is given, `top_labels` and `top_scores` have the best of them.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.metadata = (
            TensorMetadata("label", BYTES, _BATCH),
            TensorMetadata("score", "FP32", _BATCH),
            TensorMetadata("scores", "FP32", (-1, len(labels))),
        )
        self.labels = {"scores": labels}
        self.writers: dict[str, Writer] = {
            "label": _texts_of("label"),
            "score": _numbers_of("score"),
            "scores": _all_scores,
            "top_labels": _top_labels,
            "top_scores": _top_scores,
        }


class TagOutputs:
    """The words of each text, with tag, probability and place; spans and the label of the text, if the model has them.

    Places are counted as the parameter `offsets` says; they are -1 for words that were sent as such.
    """

    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self, *, has_spans: bool, labels_texts: bool) -> None:
        words, places = (-1, -1), (-1, -1, 2)
        metadata = [TensorMetadata("tokens", BYTES, words), TensorMetadata("tags", BYTES, words)]
        metadata += [TensorMetadata("scores", "FP32", words), TensorMetadata("offsets", "INT64", places)]
        metadata.append(TensorMetadata("lengths", "INT64", _BATCH))
        self.writers: dict[str, Writer] = {
            "tokens": _members("tokens", "text"),
            "tags": _members("tokens", "tag"),
            "scores": _member_scores("tokens"),
            "offsets": _member_places("tokens"),
            "lengths": _member_counts("tokens"),
        }
        if has_spans:
            metadata += [TensorMetadata("span_labels", BYTES, words), TensorMetadata("span_texts", BYTES, words)]
            metadata += [
                TensorMetadata("span_scores", "FP32", words),
                TensorMetadata("span_offsets", "INT64", places),
            ]
            self.writers |= {
                "span_labels": _members("spans", "label"),
                "span_texts": _members("spans", "text"),
                "span_scores": _member_scores("spans"),
                "span_offsets": _member_places("spans"),
            }
        if labels_texts:
            metadata += [TensorMetadata("label", BYTES, _BATCH), TensorMetadata("label_score", "FP32", _BATCH)]
            self.writers |= {"label": _texts_of("label"), "label_score": _numbers_of("label_score")}
        self.metadata = tuple(metadata)


class TreeOutputs:
    """The words of each text, with tag, head, relation, their probabilities; features, lemmas if the model has them.

    A head is an index into the words, -1 for the root, and -1 beyond the last word. `conllu` is made on request.
    A model that cuts text also tells the words of each sentence; a list of words is one, which has no place.
    """

    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self, *, has_features: bool, has_lemmas: bool, cuts_text: bool) -> None:
        words = (-1, -1)
        of_words = TagOutputs(has_spans=False, labels_texts=False)
        metadata = [*of_words.metadata, TensorMetadata("heads", "INT64", words)]
        metadata += [TensorMetadata("relations", BYTES, words), TensorMetadata("head_scores", "FP32", words)]
        metadata.append(TensorMetadata("relation_scores", "FP32", words))
        self.writers: dict[str, Writer] = of_words.writers | {
            "heads": _heads,
            "relations": _members("tokens", "relation"),
            "head_scores": _member_scores("tokens", "head_score"),
            "relation_scores": _member_scores("tokens", "relation_score"),
            "conllu": _conllu,
        }
        if has_features:
            metadata.append(TensorMetadata("features", BYTES, words))
            self.writers["features"] = _members("tokens", "features")
        if has_lemmas:
            metadata.append(TensorMetadata("lemmas", BYTES, words))
            self.writers["lemmas"] = _members("tokens", "lemma")
        if cuts_text:
            metadata.append(TensorMetadata("sentence_lengths", "INT64", words))
            metadata.append(TensorMetadata("sentence_offsets", "INT64", (-1, -1, 2)))
            self.writers["sentence_lengths"] = _sentence_lengths
            self.writers["sentence_offsets"] = _of_sentences(_member_places("sentences"))
        self.metadata = tuple(metadata)


class TextOutputs:
    """A text for each input, a translation or a caption, and its score."""

    metadata: tuple[TensorMetadata, ...] = (
        TensorMetadata(TEXT_OUTPUT, BYTES, _BATCH),
        TensorMetadata("score", "FP32", _BATCH),
    )
    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self) -> None:
        self.writers: dict[str, Writer] = {TEXT_OUTPUT: _texts_of("text"), "score": _numbers_of("score")}


class ClipOutputs(TextOutputs):
    """The caption of each clip, the action and the next one, each with its score."""

    metadata = (
        *TextOutputs.metadata,
        TensorMetadata("action", BYTES, _BATCH),
        TensorMetadata("action_score", "FP32", _BATCH),
        TensorMetadata("next_action", BYTES, _BATCH),
        TensorMetadata("next_action_score", "FP32", _BATCH),
    )

    def __init__(self) -> None:
        super().__init__()
        for key in ("action", "next_action"):
            self.writers |= {key: _action(key), f"{key}_score": _action_score(key)}


class TranscriptOutputs:
    """What was said in each input, and the confidence: -1 where nothing was heard.

    A chunk of a stream has one element too: the utterances that ended in it and the one under way, joined.
    """

    metadata = (TensorMetadata("text", BYTES, _BATCH), TensorMetadata("confidence", "FP32", _BATCH))
    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self) -> None:
        self.writers: dict[str, Writer] = {"text": _spoken_texts, "confidence": _confidences}


class GenerationOutputs:
    """The continuation of each prompt, why it ended, and its number of tokens; written by `generation`."""

    metadata = (
        TensorMetadata(TEXT_OUTPUT, BYTES, _BATCH),
        TensorMetadata("finish_reason", BYTES, _BATCH),
        TensorMetadata("generated_tokens", "INT64", _BATCH),
    )
    labels: Mapping[str, Sequence[str]] = {}
    writers: Mapping[str, Writer] = {}


class ForecastOutputs:
    """The forecast of each window, and its quantiles if the model has them."""

    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self, options: ForecastingOptions) -> None:
        shape = (-1, options.horizon, len(options.targets))
        self.writers: dict[str, Writer] = {"forecast": _forecast}
        self.metadata = [TensorMetadata("forecast", "FP32", shape)]
        if options.quantiles:
            self.writers["quantiles"] = _quantiles
            self.metadata.append(TensorMetadata("quantiles", "FP32", (*shape, len(options.quantiles))))


def _texts_of(key: str) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        return texts(name, [answer[key] for answer in prediction.answers], shape)

    return write


def _action(key: str) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        return texts(name, [answer[key]["label"] for answer in prediction.answers], shape)

    return write


def _action_score(key: str) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name, "FP32", shape, [answer[key]["score"] for answer in prediction.answers])

    return write


def _spoken_texts(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    said = [answer["text"] for answer in prediction.answers]
    return texts(name, said if len(said) == math.prod(shape) else [" ".join(said)], shape)


def _confidences(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    known = [-1.0 if answer["confidence"] is None else answer["confidence"] for answer in prediction.answers]
    if len(known) != math.prod(shape):
        known = [sum(known) / len(known) if known else -1.0]
    return Tensor(name, "FP32", shape, known)


def _numbers_of(key: str) -> Writer:
    """0 where an answer has no such number, because it was not wanted."""

    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name, "FP32", shape, [answer.get(key, 0.0) for answer in prediction.answers])

    return write


def _all_scores(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    del shape
    rows = [output.value.probabilities for output in prediction.outputs]
    scores = rows[0][None] if len(rows) == 1 else np.stack(rows)
    return numbers(name, scores.astype(np.float32))


def _top_labels(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    ranked = [_ranked(answer) for answer in prediction.answers]
    labels = [entry["label"] for entries in ranked for entry in entries]
    return texts(name, labels, (shape[0], len(ranked[0])))


def _top_scores(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    ranked = [_ranked(answer) for answer in prediction.answers]
    scores = [entry["score"] for entries in ranked for entry in entries]
    return Tensor(name, "FP32", (shape[0], len(ranked[0])), scores)


def _ranked(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer.get("top_k") or [answer]


def _members(kind: str, key: str) -> Writer:
    """The texts of tokens or spans, `[batch, most of them]`."""

    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        rows = [[member[key] for member in answer[kind]] for answer in prediction.answers]
        flat, width = _filled(rows, "")
        return texts(name, flat, (shape[0], width))

    return write


def _member_scores(kind: str, key: str = "score") -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        rows = [[member[key] for member in answer[kind]] for answer in prediction.answers]
        flat, width = _filled(rows, 0.0)
        return Tensor(name, "FP32", (shape[0], width), flat)

    return write


def _heads(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    rows = [
        [-1 if token["head"] is None else token["head"] for token in answer["tokens"]] for answer in prediction.answers
    ]
    flat, width = _filled(rows, -1)
    return Tensor(name, "INT64", (shape[0], width), flat)


def _sentences_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The sentences of an answer; all of its words where it was not cut."""
    tokens = answer["tokens"]
    whole = {"start": tokens[0]["start"], "end": tokens[-1]["end"], "first_token": 0, "num_tokens": len(tokens)}
    return answer.get("sentences") or [whole]


def _of_sentences(writer: Writer) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        answers = [{"sentences": _sentences_of(answer)} for answer in prediction.answers]
        return writer(name, prediction._replace(answers=answers), shape)

    return write


def _sentence_lengths(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    rows = [[sentence["num_tokens"] for sentence in _sentences_of(answer)] for answer in prediction.answers]
    flat, width = _filled(rows, -1)
    return Tensor(name, "INT64", (shape[0], width), flat)


def _conllu(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    return texts(name, [answer_conllu(answer) for answer in prediction.answers], shape)


def _member_places(kind: str) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        rows = [
            [place for member in answer[kind] for place in (member["start"], member["end"])]
            for answer in prediction.answers
        ]
        flat, width = _filled(rows, -1)
        known = flat if None not in flat else [-1 if place is None else place for place in flat]
        return Tensor(name, "INT64", (shape[0], width // 2, 2), known)

    return write


def _member_counts(kind: str) -> Writer:
    def write(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name, "INT64", shape, [len(answer[kind]) for answer in prediction.answers])

    return write


def _filled(rows: list[list[Any]], filling: Any) -> tuple[list[Any], int]:
    """Rows one after the other, filled up to the length of the longest; and that length."""
    if len(rows) == 1:
        return rows[0], len(rows[0])
    width = max(map(len, rows))
    flat: list[Any] = []
    for row in rows:
        flat += row
        flat += [filling] * (width - len(row))
    return flat, width


def _forecast(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    del shape
    return numbers(name, np.stack([output.value.forecast for output in prediction.outputs]))


def _quantiles(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    del shape
    return numbers(name, np.stack([output.value.quantiles for output in prediction.outputs]))
