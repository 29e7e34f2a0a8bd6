"""Shallow fusion: the step graph of a language model scores the next tokens of all hypotheses of all streams at once.

The model reads one token of each hypothesis that is new since the last step; what it said of the others is kept.
Its vocabulary may be another than the recogniser's: tokens are matched by their text, and those that the language model
lacks have the score of its unknown token.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from service.bundle.manifest import GraphSpec
from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS, EOS, UNK, TextTokenizer
from service.tasks.core.probabilities import DoubleArray, log_softmax, require_finite
from service.tasks.core.task import Array, Runner

GRAPH = "language_model"
_NEXT = "next_"
#: Rows of one run, which bounds the memory of its logits.
_MAX_ROWS = 1024


class LanguagePoint:
    """A place in a text: the state `[layers, width]` of each tensor before its last token, and that token.

    Attributes:
        after: the state after the token; None until `LanguageModel.read`.
        log_probs: `[vocabulary of the recogniser]` of the tokens that may follow, with `after`.
        end: the log-probability that the text ends here.
    """

    __slots__ = ("after", "before", "end", "log_probs", "token_id")

    def __init__(self, before: tuple[Array, ...], token_id: int) -> None:
        self.before = before
        self.token_id = token_id
        self.after: tuple[Array, ...] | None = None
        self.log_probs: DoubleArray | None = None
        self.end = 0.0


class LanguageModel:
    """The graph `language_model` of a bundle, seen from the tokens of the recogniser."""

    def __init__(self, spec: GraphSpec, own: TextTokenizer, recogniser: TextTokenizer) -> None:
        outputs = {tensor.name for tensor in spec.outputs}
        states = [tensor for tensor in spec.inputs if _NEXT + tensor.name in outputs]
        self.state_names = tuple(tensor.name for tensor in states)
        #: `[layers, width]` of each tensor.
        self.state_shapes = tuple((int(tensor.shape[0]), int(tensor.shape[2])) for tensor in states)
        self.ids = ids_by_text(recogniser, own)
        line_end = _id_of(own, "\n")
        self._end_id = line_end
        #: What stands before a text: the end of the line before it, or a blank, whichever the model has learnt.
        self.start_id = next(number for number in (line_end, _id_of(own, " "), BOS) if number is not None)

    def start(self) -> LanguagePoint:
        """Before the first token of a text."""
        zeros = tuple(np.zeros(shape, dtype=np.float32) for shape in self.state_shapes)
        return LanguagePoint(zeros, self.start_id)

    def following(self, point: LanguagePoint, token_id: int) -> LanguagePoint:
        """After one more token of the recogniser; `point` has been read."""
        assert point.after is not None, "a hypothesis grows from one that the language model has read"
        return LanguagePoint(point.after, int(self.ids[token_id]))

    def read(self, runner: Runner, points: Iterable[LanguagePoint]) -> None:
        """Run the graph for all points that were not read yet. Raises InferenceFailed."""
        waiting = list({id(point): point for point in points if point.after is None}.values())
        for first in range(0, len(waiting), _MAX_ROWS):
            self._read(runner, waiting[first : first + _MAX_ROWS])

    def _read(self, runner: Runner, points: list[LanguagePoint]) -> None:
        feeds: dict[str, Array] = {"token": np.array([point.token_id for point in points], dtype=np.int64)}
        for number, name in enumerate(self.state_names):
            feeds[name] = np.stack([point.before[number] for point in points], axis=1)
        outputs = runner.run(GRAPH, feeds)
        scores = log_softmax(require_finite(outputs["logits"], "scores of the next token"))
        of_recogniser = scores[:, self.ids]
        # Row first and copied, so that a hypothesis does not keep the arrays of the whole batch in memory.
        states = [np.moveaxis(outputs[_NEXT + name], 1, 0) for name in self.state_names]
        for row, point in enumerate(points):
            point.after = tuple(state[row].copy() for state in states)
            point.log_probs = of_recogniser[row].copy()
            point.end = 0.0 if self._end_id is None else float(scores[row, self._end_id])


def ids_by_text(tokenizer: TextTokenizer, other: TextTokenizer) -> IntArray:
    """`[vocabulary]`: for each token of a tokenizer the id that the same text has in the other, UNK if it has none."""
    ids = [other.token_id(tokenizer.token(number)) for number in range(tokenizer.vocabulary_size)]
    known = [UNK if number is None or number <= EOS else number for number in ids]
    return np.array(known, dtype=np.int64)


def _id_of(tokenizer: TextTokenizer, token: str) -> int | None:
    number = tokenizer.token_id(token)
    return None if number is None or number <= EOS else number
