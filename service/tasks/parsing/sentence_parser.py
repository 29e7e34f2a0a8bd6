"""Parsing of sentences whose words are known: the head of every word and its relation, tag, features and lemma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, IntArray
from service.bundle.task_options import ParsingOptions
from service.tasks.core.offsets import OffsetUnit
from service.tasks.core.probabilities import DoubleArray, log_softmax, most_probable, softmax
from service.tasks.core.sentence import Sentence, SentenceReader
from service.tasks.core.task import Array, Runner
from service.tasks.parsing.head_encoding import HeadEncodings
from service.tasks.parsing.lemmatizer import Lemmatizer
from service.tasks.parsing.segmenter import RawText
from service.tasks.parsing.spanning_tree import maximum_spanning_tree

#: The relation to the root in Universal Dependencies. Where a model has it, one word has it: the one whose head is the
#: root.
ROOT_RELATION = "root"


@dataclass(slots=True)
class ParsingExample(Sentence):
    """One sentence as ids, and whether its answer has CoNLL-U.

    With `raw` it is a text that is still to be cut; its words are those of the rules, which count its tokens.
    """

    conllu: bool = False
    raw: RawText | None = None
    unit: OffsetUnit = "codepoints"


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


class SentenceParser:
    """Parses with the graph `parser`, the maximum spanning tree, and of a biaffine model the graph `relations`."""

    def __init__(self, bundle: Bundle, options: ParsingOptions, reader: SentenceReader[ParsingExample]) -> None:
        self._options = options
        self._reader = reader
        self._labels = bundle.manifest.labels
        self._encodings = HeadEncodings(bundle.manifest.labels, options.offsets) if options.offsets else None
        names = options.relations
        self._root = names.index(ROOT_RELATION) if ROOT_RELATION in names and len(names) > 1 else None
        lemmatizer = options.lemmatizer
        self._lemmatizer = Lemmatizer(lemmatizer.table) if lemmatizer is not None else None

    def parse(self, runner: Runner, examples: Sequence[ParsingExample]) -> list[ParsingOutput]:
        """The tree of each sentence, all in one run of each graph. Raises InferenceFailed."""
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
