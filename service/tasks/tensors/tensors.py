"""Named arrays in, named arrays out: the task of recurrent graphs whose numbers have no meaning that is known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, WithJsonSchema

from service.bundle.load import Bundle
from service.bundle.manifest import LENGTHS, TIME_AXIS
from service.bundle.task_options import TensorsOptions
from service.errors import InferenceFailed
from service.tasks.core.chunk_state import (
    ChunkState,
    RowState,
    rows_after,
    states_before,
)
from service.tasks.core.chunked_task import ChunkedTask
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    Array,
    InputStatistics,
    Parameters,
    PredictInput,
    Runner,
    run_with_hidden,
)
from service.tasks.tensors.model_form import GRAPH, ModelForm
from service.tasks.tensors.short_numbers import plain_numbers

Nested = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "array", "items": {}}], "title": "numbers"})
]


class TensorsParameters(Parameters):
    """Which of the outputs to return."""

    outputs: list[str] | None = Field(default=None, description="names of outputs; default: all of them")


class TensorsAnswer(Answer):
    """The outputs by name, as nested lists of numbers without the batch axis; a list for each step of those over time.

    A single number stands for an output of none but the batch axis.
    """

    outputs: dict[str, Nested]


@dataclass(slots=True)
class TensorsExample:
    """The arrays of one input without the batch axis, as its graph takes them, and their length in steps.

    `outputs` are those that the answer has.
    """

    arrays: Mapping[str, Array]
    length: int
    outputs: Sequence[str]
    before: ChunkState | None = None


class TensorsOutput(NamedTuple):
    """The outputs of one row without the batch axis and without padding; or why they could not be computed."""

    arrays: Mapping[str, Array]
    after: RowState | None
    failure: str = ""


class TensorsTask(ChunkedTask[TensorsExample, TensorsOutput]):
    """Runs a graph on named arrays. A bundle with state reads them in chunks (`ChunkReader`).

    An input that is not over time is sent with every chunk.
    """

    parameters_type = TensorsParameters
    answer_type = TensorsAnswer

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._form = ModelForm(bundle.manifest)

    @property
    def equal_lengths(self) -> bool:
        options = self._manifest.options
        return isinstance(options, TensorsOptions) and options.equal_lengths

    def preprocess(self, value: PredictInput, parameters: TensorsParameters) -> TensorsExample:
        """Check the names, shapes and numbers of the arrays."""
        outputs = self._form.require_outputs(parameters.outputs)
        arrays = self._form.read(value)
        return TensorsExample(arrays, self._form.length_of(arrays), outputs)

    def answer_size(self, example: TensorsExample) -> int:
        return sum([self._form.size_of(name, example.length) for name in example.outputs])

    def run(self, runner: Runner, examples: Sequence[TensorsExample]) -> list[TensorsOutput]:
        """One run; where it fails one for each example, as an id without a row in an embedding fails a whole batch."""
        try:
            outputs = run_with_hidden(runner, GRAPH, self._feeds(examples))
        except InferenceFailed as error:
            if len(examples) > 1:
                return [output for example in examples for output in self.run(runner, [example])]
            return [TensorsOutput({}, None, str(error))]
        afters = rows_after(self._manifest.state, outputs, len(examples))
        return [
            self._row(outputs, row, example.length, after)
            for row, (example, after) in enumerate(zip(examples, afters, strict=True))
        ]

    def _feeds(self, examples: Sequence[TensorsExample]) -> dict[str, Array]:
        lengths = [example.length for example in examples]
        feeds = {
            name: _batch([example.arrays[name] for example in examples], max(lengths) if form.is_over_time else 0)
            for name, form in self._form.inputs.items()
        }
        if self._form.has_lengths:
            feeds[LENGTHS] = np.array(lengths, dtype=np.int64)
        return feeds | states_before(self._manifest.state, [example.before for example in examples])

    def _row(self, outputs: Mapping[str, Array], row: int, length: int, after: RowState | None) -> TensorsOutput:
        """The outputs of one row, without padding. What is not finite fails that row alone."""
        arrays = {}
        for name, axes in self._form.outputs.items():
            array = outputs[name][row]
            arrays[name] = array[:length] if axes[:1] == (TIME_AXIS,) else array
            if array.dtype.kind == "f" and not np.isfinite(arrays[name]).all():
                return TensorsOutput({}, after, f"the model computed an output {name!r} that is not of finite numbers")
        return TensorsOutput(arrays, after)

    def plain_answer(self, example: TensorsExample, output: TensorsOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values.

        Raises:
            InferenceFailed: the graph failed, or a number is not finite.
        """
        if output.failure:
            raise InferenceFailed(output.failure)
        return {"outputs": {name: plain_numbers(output.arrays[name]) for name in example.outputs}}

    def postprocess(self, example: TensorsExample, output: TensorsOutput) -> TensorsAnswer:
        return TensorsAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: TensorsExample) -> InputStatistics:
        return InputStatistics(example.length, 0)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """Arrays have neither labels nor a confidence."""
        del plain_answer
        return AnswerStatistics((), None)


def _batch(rows: Sequence[Array], num_steps: int) -> Array:
    """Rows as one array `[batch, ...]`; those over time filled up with zeros to `num_steps`."""
    if len(rows) == 1:
        return rows[0][None]
    if not num_steps or all(len(row) == num_steps for row in rows):
        return np.stack(rows)
    padded = np.zeros((len(rows), num_steps, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded
