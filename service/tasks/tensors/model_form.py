"""What a graph of named arrays takes and gives, without its state and its lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.bundle.manifest import LENGTHS, TIME_AXIS, Manifest, TensorSpec
from service.bundle.padding import Array
from service.bundle.task_options import TensorNote, TensorsOptions
from service.errors import InvalidInput
from service.tasks.core.task import PredictInput, Tensors, kind_of
from service.tasks.tensors.array_form import ArrayForm

GRAPH = "model"
_PATH = "tensors"


def described(manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    """The inputs and outputs of a bundle of named arrays, without the batch axis, its lengths and its state."""
    options, form = manifest.options, ModelForm(manifest)
    assert isinstance(options, TensorsOptions)

    def told(tensor: TensorSpec) -> dict[str, Any]:
        note = options.notes.get(tensor.name, TensorNote()).model_dump(exclude_defaults=True)
        if tensor.dtype != "float32":
            note |= {key: int(note[key]) for key in ("minimum", "maximum") if key in note}
        return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape[1:]), **note}

    graph = manifest.graphs[GRAPH]
    return {
        "inputs": [told(tensor) for tensor in graph.inputs if tensor.name in form.inputs],
        "outputs": [told(tensor) for tensor in graph.outputs if tensor.name in form.outputs],
    }


class ModelForm:
    """The inputs and outputs of a bundle of the task, without its state and its lengths."""

    def __init__(self, manifest: Manifest) -> None:
        options = manifest.options
        assert isinstance(options, TensorsOptions)
        spec, limits = manifest.graphs[GRAPH], manifest.limits
        states = {state.name for state in manifest.state} | {state.next_name for state in manifest.state}
        self.inputs = {
            tensor.name: ArrayForm.of(tensor, options.notes.get(tensor.name), limits.max_input_tokens)
            for tensor in spec.inputs
            if tensor.name != LENGTHS and tensor.name not in states
        }
        #: The axes of each output behind the batch.
        self.outputs = {tensor.name: tensor.shape[1:] for tensor in spec.outputs if tensor.name not in states}
        self.is_real = {tensor.name: tensor.dtype == "float32" for tensor in spec.outputs}
        self.item_bytes = {tensor.name: np.dtype(tensor.dtype).itemsize for tensor in spec.outputs}
        self.has_lengths = any(tensor.name == LENGTHS for tensor in spec.inputs)
        self._fixed_length = options.fixed_length or 1
        self._shown = ", ".join(f"{name} {form}" for name, form in self.inputs.items())

    def require_outputs(self, names: Sequence[str] | None) -> Sequence[str]:
        """The outputs that are asked for, each once. Raises InvalidInput for one that there is not."""
        if names is None:
            return tuple(self.outputs)
        for index, name in enumerate(names):
            if name not in self.outputs:
                known = ", ".join(self.outputs)
                raise InvalidInput(f"there is no such output; there are: {known}", ("parameters", "outputs", index))
        return tuple(dict.fromkeys(names))

    def size_of(self, output: str, length: int) -> int:
        """Numbers of an output of one row."""
        return math.prod(length if axis == TIME_AXIS else int(axis) for axis in self.outputs[output])

    def read(self, value: PredictInput) -> dict[str, Array]:
        """The arrays of an input. Raises InvalidInput, with a path that begins with `tensors` and the name of one."""
        if not isinstance(value, Tensors):
            wanted = f'named arrays as {{"tensors": {{"{next(iter(self.inputs))}": ...}}}}'
            raise InvalidInput(f"this model takes {wanted}, not {kind_of(value)}: {self._shown}")
        self._require_names(value.arrays)
        arrays = {}
        for name, form in self.inputs.items():
            try:
                arrays[name] = form.read(value.arrays[name])
            except InvalidInput as error:
                raise error.under(_PATH, name) from error
        return arrays

    def _require_names(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in self.inputs:
                raise InvalidInput(f"there is no such input; there are: {self._shown}", (_PATH, name[:80]))
        missing = [name for name in self.inputs if name not in given]
        if missing:
            raise InvalidInput(f"{', '.join(missing)} is missing; the inputs are: {self._shown}", (_PATH,))

    def num_steps(self, arrays: Mapping[str, Any]) -> int:
        """Steps of time of an input that was read."""
        over_time = next((name for name, form in self.inputs.items() if form.is_over_time), None)
        return self._fixed_length if over_time is None else len(arrays[over_time])

    def length_of(self, arrays: Mapping[str, Array]) -> int:
        """Steps of time, in which all inputs over time agree. Raises InvalidInput."""
        over_time = [name for name, form in self.inputs.items() if form.is_over_time]
        if not over_time:
            return self._fixed_length
        first, length = over_time[0], len(arrays[over_time[0]])
        for name in over_time[1:]:
            if len(arrays[name]) != length:
                message = f"it has {len(arrays[name])} steps, {first} has {length}: they go through time together"
                raise InvalidInput(message, (_PATH, name))
        return length
