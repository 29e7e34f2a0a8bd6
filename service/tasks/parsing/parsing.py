"""Dependency parsing: the head of every word and their relation; the tag, features and lemma of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, IntArray
from service.bundle.task_options import ParsingOptions
from service.errors import InferenceFailed
from service.tasks.core.hidden import finite_numbers
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.probabilities import DoubleArray, log_softmax, most_probable, softmax
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
from service.tasks.parsing.conllu import conllu
from service.tasks.parsing.head_encoding import HeadEncodings
from service.tasks.parsing.lemmatizer import Lemmatizer
from service.tasks.parsing.spanning_tree import maximum_spanning_tree

#: The relation to the root in Universal Dependencies. Where a model has it, one word has it: the one whose head is the
#: root.
ROOT_RELATION = "root"


class ParsingParameters(SentenceParameters):
    """How to count the places of words, and whether to return CoNLL-U."""

    conllu: bool = Field(default=False, description="also return the sentence as CoNLL-U, ten columns a word")


class ParsedToken(Answer):
    """A word, its head and their relation."""

    text: str
    tag: str
    score: float = Field(description="probability of the tag, 0 to 1")
    head: int | None = Field(description="index of its head in `tokens`; null for the root of the sentence")
    relation: str = Field(description="to its head, such as nsubj")
    head_score: float = Field(description="probability of the head among the other words and the root, 0 to 1")
    relation_score: float = Field(description="probability of the relation, given the head, 0 to 1")
    features: str | None = Field(
        default=None,
        exclude_if=lambda features: features is None,
        description='morphological features, such as "Case=Nom|Number=Sing", "_" for none; if the model gives them',
    )
    lemma: str | None = Field(
        default=None,
        exclude_if=lambda lemma: lemma is None,
        description="its form in a dictionary, such as go for went; if the model gives it",
    )
    start: int | None = Field(description=START_OF_PLACE)
    end: int | None = Field(description=END_OF_PLACE)


class ParsingAnswer(Answer):
    """Every word with its head: a tree with one root. `conllu` and `hidden` only if requested."""

    tokens: list[ParsedToken]
    conllu: str | None = Field(
        default=None, exclude_if=lambda text: text is None, description="the sentence as CoNLL-U, if requested"
    )
    hidden: list[float] | None = Field(
        default=None,
        exclude_if=lambda hidden: hidden is None,
        description="the mean of the hidden states of its words, if requested",
    )


@dataclass(slots=True)
class ParsingExample(Sentence):
    """One sentence as ids, and whether its answer has CoNLL-U."""

    conllu: bool = False


class Chosen(NamedTuple):
    """What was chosen for each word, and its probability."""

    ids: list[int]
    scores: list[float]


class ParsingOutput(NamedTuple):
    """A tree over one sentence. The ids of heads are 0 for the root and j for the j-th word."""

    tags: Chosen
    heads: Chosen
    relations: Chosen
    features: list[int] | None
    is_finite: bool
    hidden: FloatArray | None = None
    lemmas: list[str] | None = None


class Parsing(PredictTask[ParsingExample, ParsingOutput]):
    """Parses sentences: the graph `parser`, the maximum spanning tree, and with `biaffine` the graph `relations`."""

    parameters_type = ParsingParameters
    answer_type = ParsingAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, ParsingOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for parsing")
        self._options = manifest.options
        self._labels = manifest.labels
        self._reader = SentenceReader(bundle, "parser", self._options.max_word_characters, ParsingExample)
        self._encodings = HeadEncodings(manifest.labels, self._options.offsets) if self._options.offsets else None
        names = self._options.relations
        self._root = names.index(ROOT_RELATION) if ROOT_RELATION in names and len(names) > 1 else None
        lemmatizer = self._options.lemmatizer
        self._lemmatizer = Lemmatizer(lemmatizer.table) if lemmatizer is not None else None

    def preprocess(self, value: PredictInput, parameters: ParsingParameters) -> ParsingExample:
        """Split a text into words, or take a list of words, and look them up."""
        example = self._reader.read(value, parameters)
        example.conllu = parameters.conllu
        return example

    def run(self, runner: Runner, examples: Sequence[ParsingExample]) -> list[ParsingOutput]:
        feeds = self._reader.feeds(examples)
        lengths: list[int] = feeds["lengths"].tolist()
        outputs, vectors = self._reader.run(runner, feeds, examples)
        tags = _chosen(outputs["emissions"], lengths)
        features = _chosen(outputs["feature_logits"], lengths) if self._options.features else None
        arcs = [self._arc_scores(outputs, row, tags[row].ids) for row in range(len(examples))]
        trees = [best_heads(scores) for scores in arcs]
        logits = self._relation_logits(runner, outputs, trees, lengths)
        relations = [self._relations(logits[row], heads) for row, (heads, _) in enumerate(trees)]
        is_finite = self._finite(outputs, lengths, logits)
        return [
            ParsingOutput(
                tags[row],
                Chosen(heads.tolist(), scores.tolist()),
                relations[row],
                features[row].ids if features else None,
                is_finite[row],
                vectors[row],
                self._lemmas(examples[row].words, tags[row].ids),
            )
            for row, (heads, scores) in enumerate(trees)
        ]

    def _lemmas(self, words: Sequence[str], tag_ids: Sequence[int]) -> list[str] | None:
        """The lemma of each word, given its tag; None for a bundle that gives none."""
        if self._lemmatizer is None:
            return None
        return [self._lemmatizer.lemma(word, self._labels[tag]) for word, tag in zip(words, tag_ids, strict=True)]

    def _arc_scores(self, outputs: dict[str, Array], row: int, tag_ids: list[int]) -> Array:
        """`[words, words + 1]`: the score of each word's candidate heads; finite."""
        size = len(tag_ids)
        if self._encodings is None:
            return _as_finite(outputs["arc_scores"][row, :size, : size + 1])
        log_probs = log_softmax(_as_finite(outputs["offset_logits"][row, :size]))
        return self._encodings.arc_scores(log_probs, np.array(tag_ids))

    def _relation_logits(
        self,
        runner: Runner,
        outputs: dict[str, Array],
        trees: Sequence[tuple[IntArray, DoubleArray]],
        lengths: Sequence[int],
    ) -> list[Array]:
        """`[words, relations]` of each sentence. With `biaffine`, one run for the chosen arcs of the whole batch."""
        if self._encodings is not None:
            return [outputs["relation_logits"][row, :length] for row, length in enumerate(lengths)]
        feeds = {
            "dependents": np.concatenate([outputs["dependents"][row, :length] for row, length in enumerate(lengths)]),
            "heads": np.concatenate([outputs["heads"][row, heads] for row, (heads, _) in enumerate(trees)]),
        }
        logits = runner.run("relations", feeds)["relation_logits"]
        return np.split(logits, np.cumsum(lengths)[:-1])

    def _relations(self, logits: Array, heads: IntArray) -> Chosen:
        """The best relation of each word; the one to the root belongs to the root's word alone."""
        logits = _as_finite(logits)
        allowed = logits.astype(np.float64)
        if self._root is not None:
            allowed[heads != 0, self._root] = -np.inf
            allowed[heads == 0, np.arange(logits.shape[1]) != self._root] = -np.inf
        ids = allowed.argmax(axis=1)
        return Chosen(ids.tolist(), np.take_along_axis(softmax(logits), ids[:, None], axis=1)[:, 0].tolist())

    def _finite(self, outputs: dict[str, Array], lengths: Sequence[int], relation_logits: list[Array]) -> list[bool]:
        """Whether all numbers that the answer to each row depends on are finite; padding is not looked at."""
        names = [name for name in ("emissions", "feature_logits", "offset_logits") if name in outputs]
        found = []
        for row, length in enumerate(lengths):
            read = [outputs[name][row, :length] for name in names]
            is_finite = all(np.isfinite(values).all() for values in [*read, relation_logits[row]])
            if is_finite and self._encodings is None:
                is_finite = _are_finite_arcs(outputs["arc_scores"][row, :length, : length + 1])
            found.append(is_finite)
        return found

    def embed(self, runner: Runner, examples: Sequence[ParsingExample]) -> list[Array]:
        return self._reader.embed(runner, self._reader.feeds(examples))

    def plain_answer(self, example: ParsingExample, output: ParsingOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values.

        Raises:
            InferenceFailed: if the scores are not finite.
        """
        if not output.is_finite:
            raise InferenceFailed("the model computed scores of tags, heads or relations that are not finite numbers")
        tokens = [self._token(example, output, word) for word in range(example.length)]
        for token, (start, end) in zip(tokens, example.places_of_words(), strict=True):
            token["start"], token["end"] = start, end
        answer: dict[str, Any] = {"tokens": tokens}
        if example.conllu:
            answer["conllu"] = conllu(tokens)
        if output.hidden is not None:
            answer["hidden"] = finite_numbers(output.hidden)
        return answer

    def _token(self, example: ParsingExample, output: ParsingOutput, word: int) -> dict[str, Any]:
        head = output.heads.ids[word]
        token: dict[str, Any] = {
            "text": example.words[word],
            "tag": self._labels[output.tags.ids[word]],
            "score": output.tags.scores[word],
            "head": head - 1 if head else None,
            "relation": self._options.relations[output.relations.ids[word]],
            "head_score": output.heads.scores[word],
            "relation_score": output.relations.scores[word],
        }
        if output.features is not None:
            token["features"] = self._options.features[output.features[word]]
        if output.lemmas is not None:
            token["lemma"] = output.lemmas[word]
        return token

    def postprocess(self, example: ParsingExample, output: ParsingOutput) -> ParsingAnswer:
        return ParsingAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: ParsingExample) -> InputStatistics:
        return input_statistics_of(example.word_ids)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """The tags of the words, and the mean probability of their heads."""
        tokens = plain_answer["tokens"]
        confidence = sum([token["head_score"] for token in tokens]) / len(tokens)
        return AnswerStatistics([token["tag"] for token in tokens], confidence)


def best_heads(scores: Array) -> tuple[IntArray, DoubleArray]:
    """The head of each word in the best tree, and its probability among the candidates of that word alone.

    `scores` is as for `maximum_spanning_tree`.
    """
    words = np.arange(len(scores))
    heads = maximum_spanning_tree(scores)
    candidates = scores.astype(np.float64)
    candidates[words, words + 1] = -np.inf
    return heads, softmax(candidates)[words, heads]


def _chosen(logits: Array, lengths: Sequence[int]) -> list[Chosen]:
    """The most probable id of each word of a padded batch of logits `[batch, time, ids]`."""
    ids, scores = most_probable(_as_finite(logits))
    return [Chosen(ids[row, :end].tolist(), scores[row, :end].tolist()) for row, end in enumerate(lengths)]


def _as_finite(values: Array) -> Array:
    """The values with 0 in place of what is not finite; such rows are never answered."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, 0.0)


def _are_finite_arcs(scores: Array) -> bool:
    """Whether the scores of all candidate heads are finite; that of a word as its own head does not matter."""
    words = np.arange(len(scores))
    finite = np.isfinite(scores)
    finite[words, words + 1] = True
    return bool(finite.all())
