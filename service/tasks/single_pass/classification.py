"""Classification: one label for a whole text, or for a whole sequence of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from service.bundle.hidden_output import EMBEDDING
from service.bundle.load import Bundle
from service.bundle.padding import FloatArray
from service.bundle.task_options import WaveformSpec
from service.errors import InferenceFailed
from service.tasks.core.chunk_state import (
    ChunkState,
    RowState,
    rows_after,
    states_before,
)
from service.tasks.core.chunked_task import ChunkedTask
from service.tasks.core.hidden import HiddenForm, HiddenParameters, finite_numbers, formed
from service.tasks.core.probabilities import softmax
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    Array,
    InputStatistics,
    PredictInput,
    Runner,
    run_with_hidden,
)
from service.tasks.inputs.sequence_input import sequence_input


class ClassificationParameters(HiddenParameters):
    """How much of the distribution to return."""

    top_k: int | None = Field(default=None, ge=1, description="also list this many of the most likely labels")


class LabelScore(Answer):
    """A label and its probability, 0 to 1."""

    label: str
    score: float


class ClassificationAnswer(Answer):
    """The most likely label; `top_k` only on request, with at most as many entries as there are labels."""

    label: str
    score: float = Field(description="probability of the label, 0 to 1")
    top_k: list[LabelScore] | None = Field(default=None, exclude_if=lambda labels: labels is None)
    hidden: list[float] | None = Field(
        default=None, exclude_if=lambda hidden: hidden is None, description="the hidden state, if requested"
    )


@dataclass(slots=True)  # not frozen, which takes longer to make than to tokenize a text
class ClassificationExample:
    """One preprocessed input: the sequence, see `SequenceInput`, and its length in steps."""

    sequence: Any
    length: int
    top_k: int | None
    before: ChunkState | None = None
    hidden: HiddenForm = ""


class ClassificationOutput(NamedTuple):
    """The requested labels as indices, the most likely first, and their probabilities.

    `probabilities` are those of all labels, `[labels]`: a view of those of the whole batch.
    """

    label_ids: list[int]
    scores: list[float]
    is_finite: bool
    after: RowState | None
    probabilities: Array
    hidden: FloatArray | None = None


class Classification(ChunkedTask[ClassificationExample, ClassificationOutput]):
    """Labels a sequence. A bundle with state reads it in chunks (`ChunkReader`).

    The label after a chunk is that of everything read so far.
    """

    parameters_type = ClassificationParameters
    answer_type = ClassificationAnswer

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._labels = bundle.manifest.labels
        signal = bundle.manifest.options.signal if bundle.manifest.options.task == "classification" else None
        self._rate_hz = signal.sample_rate_hz if isinstance(signal, WaveformSpec) else 0
        self._input = sequence_input(bundle)

    def preprocess(self, value: PredictInput, parameters: ClassificationParameters) -> ClassificationExample:
        """Validate and encode an input of the kind that this bundle reads."""
        sequence = self._input.encode(value)
        hidden = parameters.hidden_form(self._manifest)
        return ClassificationExample(sequence, self._input.length(sequence), parameters.top_k, hidden=hidden)

    def run(self, runner: Runner, examples: Sequence[ClassificationExample]) -> list[ClassificationOutput]:
        is_hidden = any(example.hidden for example in examples)
        run = partial(run_with_hidden, runner) if is_hidden else runner.run
        outputs = run("classifier", self._feeds(examples))
        afters = rows_after(self._manifest.state, outputs, len(examples))
        rows = most_likely_labels(outputs["logits"], [example.top_k or 1 for example in examples], afters)
        if not is_hidden:
            return rows
        vectors = formed(outputs[EMBEDDING], [example.hidden for example in examples])
        return [row._replace(hidden=vector) for row, vector in zip(rows, vectors, strict=True)]

    def embed(self, runner: Runner, examples: Sequence[ClassificationExample]) -> list[Array]:
        return list(run_with_hidden(runner, "classifier", self._feeds(examples))[EMBEDDING])

    def _feeds(self, examples: Sequence[ClassificationExample]) -> dict[str, Array]:
        feeds = self._input.feeds([example.sequence for example in examples])
        return feeds | states_before(self._manifest.state, [example.before for example in examples])

    def plain_answer(self, example: ClassificationExample, output: ClassificationOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values, several times faster to build and serialise.

        Raises:
            InferenceFailed: if the logits are not finite.
        """
        if not output.is_finite:
            raise InferenceFailed("the model computed label scores that are not finite numbers")
        labels = self._labels
        pairs = zip(output.label_ids, output.scores, strict=True)
        ranked = [{"label": labels[label], "score": score} for label, score in pairs]
        answer: dict[str, Any] = {**ranked[0], "top_k": ranked} if example.top_k else ranked[0]
        if output.hidden is not None:
            answer["hidden"] = finite_numbers(output.hidden)
        return answer

    def postprocess(self, example: ClassificationExample, output: ClassificationOutput) -> ClassificationAnswer:
        return ClassificationAnswer.model_validate(self.plain_answer(example, output))

    def sound_s(self, example: ClassificationExample) -> float:
        return len(example.sequence) / self._rate_hz if self._rate_hz else 0.0

    def input_statistics(self, example: ClassificationExample) -> InputStatistics:
        return self._input.input_statistics(example.sequence)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        return AnswerStatistics((plain_answer["label"],), plain_answer["score"])


def most_likely_labels(
    logits: Array, counts: Sequence[int], afters: Sequence[RowState | None]
) -> list[ClassificationOutput]:
    """The best `counts[row]` labels of each row of logits `[batch, labels]`."""
    is_finite = np.all(np.isfinite(logits), axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # a row that is not finite fails in plain_answer
        probabilities = softmax(logits)
        best = logits.argmax(axis=1).tolist()
    outputs = []
    for row, (count, finite, after) in enumerate(zip(counts, is_finite.tolist(), afters, strict=True)):
        label_ids = [best[row]] if count == 1 else np.argsort(-logits[row], kind="stable")[:count].tolist()
        scores = probabilities[row]
        outputs.append(ClassificationOutput(label_ids, scores[label_ids].tolist(), finite, after, scores))
    return outputs
