"""The tensors of a model whose inputs and outputs are named arrays: the same names and shapes, with the batch axis.

Rows of different lengths are as long as the longest, and `lengths` says how long each of them is; rows of outputs are
filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.api.protocols.open_inference.tensors.messages import (
    DATATYPES,
    InferRequest,
    Tensor,
    TensorMetadata,
    numbers,
)
from service.api.protocols.open_inference.tensors.task_inputs import (
    LENGTHS,
    Rows,
    require_rows,
    row_ends,
    which_inputs,
    wrong_shape,
)
from service.api.protocols.open_inference.tensors.task_outputs import Writer
from service.api.protocols.open_inference.tensors.tensor_data import require_few_bytes, require_short_json
from service.bundle.manifest import Dtype, Manifest
from service.bundle.padding import Array
from service.errors import InvalidInput
from service.inference.engines.predict_engine import PredictEngine, Prediction
from service.tasks.core.task import Tensors
from service.tasks.inputs.request_limits import MAX_ANSWER_NUMBERS
from service.tasks.tensors.array_form import ArrayForm
from service.tasks.tensors.model_form import ModelForm


class ArrayInputs:
    """The inputs of the graph, but for its state; `lengths` where rows differ, also if the graph has no such input."""

    def __init__(self, manifest: Manifest) -> None:
        self._form = ModelForm(manifest)
        self._over_time = next((form for form in self._form.inputs.values() if form.is_over_time), None)
        self.metadata = [_metadata(form.name, form.dtype, form.axes) for form in self._form.inputs.values()]
        self._optional = frozenset({LENGTHS} if self._over_time else ())
        self.names = self._optional | self._form.inputs.keys()
        shown = " and ".join(self._form.inputs)
        self.alternatives = (f"{shown} and, if they differ, {LENGTHS}" if self._over_time else shown,)

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        """One set of arrays for each row."""
        forms = self._form.inputs
        if inputs.keys() - self._optional != forms.keys():
            raise InvalidInput(which_inputs(inputs, self.alternatives[0]), ("inputs",))
        first = inputs[next(iter(forms))]
        for name, form in forms.items():
            _require_shape(inputs[name], form)
            if inputs[name].shape[0] != first.shape[0]:
                message = f"it has {inputs[name].shape[0]} rows, {first.name} has {first.shape[0]}"
                raise InvalidInput(message, (name, "shape"))
        require_rows(first, max_rows)
        arrays = {name: inputs[name].array for name in forms}
        ends = [0] * first.shape[0]
        if self._over_time is not None:
            ends = row_ends(inputs[self._over_time.name], inputs.get(LENGTHS)).tolist()
        return Rows([self._row(arrays, row, end) for row, end in enumerate(ends)], (first.shape[0],))

    def _row(self, arrays: Mapping[str, Array], row: int, end: int) -> Tensors:
        forms = self._form.inputs
        return Tensors({n: array[row][:end] if forms[n].is_over_time else array[row] for n, array in arrays.items()})

    def require_few(self, request: InferRequest, rows: Rows, wanted: Sequence[str]) -> int:
        """The numbers of the outputs. Raises InvalidInput if they are more than are sent, before anything is run."""
        names = [name for name in wanted if name in self._form.outputs]
        counts = {name: len(rows.values) * self._form.size_of(name, self._longest(rows)) for name in names}
        for name, count in counts.items():
            if not request.wants_bytes(name):
                require_short_json(name, count)
        require_few_bytes(sum(count * self._form.item_bytes[name] for name, count in counts.items()))
        return sum(counts.values())

    def _longest(self, rows: Rows) -> int:
        if self._over_time is None:
            return 0
        name = self._over_time.name
        return max(len(value.arrays[name]) for value in rows.values if isinstance(value, Tensors))


class ArrayOutputs:
    """The outputs of the graph, but for its state."""

    labels: Mapping[str, Sequence[str]] = {}

    def __init__(self, manifest: Manifest) -> None:
        form = ModelForm(manifest)
        dtypes = {tensor.name: tensor.dtype for tensor in manifest.graphs["model"].outputs}
        self.metadata = [_metadata(name, dtypes[name], axes) for name, axes in form.outputs.items()]
        self.writers: dict[str, Writer] = dict.fromkeys(form.outputs, _rows_of)


def parameters_for(engine: PredictEngine, given: Mapping[str, Any], num_numbers: int) -> Mapping[str, Any]:
    """The parameters of a request to the engine: without outputs, whose JSON nobody reads but shadow traffic.

    Raises:
        InvalidInput: outputs are named among the parameters.
    """
    if "outputs" in given:
        raise InvalidInput("outputs are named in `outputs` of the request here", ("parameters", "outputs"))
    is_compared = engine.on_answer is not None and num_numbers <= MAX_ANSWER_NUMBERS
    return given if is_compared else {**given, "outputs": []}


def renamed_row(field: Sequence[str | int]) -> tuple[str | int, ...] | None:
    """The path `inputs.<row>.tensors.<name>...` of an error as that of a tensor; None for other paths."""
    match field:
        case ["inputs", int() as row, "tensors", str() as name, *rest]:
            return ("inputs", name, row, *rest)
    return None


def _metadata(name: str, dtype: Dtype, axes: Sequence[int | str]) -> TensorMetadata:
    return TensorMetadata(name, DATATYPES[dtype], (-1, *(axis if isinstance(axis, int) else -1 for axis in axes)))


def _require_shape(tensor: Tensor, form: ArrayForm) -> None:
    """Raises InvalidInput for another number of axes, or another size of an axis that has one."""
    sizes = tensor.shape[1:]
    fits = len(tensor.shape) == len(form.axes) + 1
    if not fits or any(isinstance(axis, int) and axis != size for axis, size in zip(form.axes, sizes, strict=True)):
        raise wrong_shape(tensor, f"[{', '.join(map(str, ('batch', *form.axes)))}]")


def _rows_of(name: str, prediction: Prediction, shape: tuple[int, ...]) -> Tensor:
    """The rows of an output, filled up with zeros to the longest."""
    del shape
    rows = [output.value.arrays[name] for output in prediction.outputs]
    if len({row.shape for row in rows}) == 1:
        return numbers(name, rows[0][None] if len(rows) == 1 else np.stack(rows))
    longest = max(map(len, rows))
    filled = np.zeros((len(rows), longest, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in zip(filled, rows, strict=True):
        place[: len(row)] = row
    return numbers(name, filled)
