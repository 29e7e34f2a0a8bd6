"""The form of one named input: its dtype, its axes, and which numbers it may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.bundle.manifest import TIME_AXIS, Dtype, TensorSpec
from service.bundle.padding import Array
from service.bundle.task_options import TensorNote
from service.errors import InvalidInput
from service.tasks.core.task import LARGEST_NUMBER, require_at_most
from service.tasks.tensors.nested_lists import array_of_lists, path_of

#: The least and the largest number of each dtype where a bundle names no others.
_RANGES: dict[Dtype, tuple[float, float]] = {
    "float32": (-LARGEST_NUMBER, LARGEST_NUMBER),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 255),
}


@dataclass(frozen=True)
class ArrayForm:
    """What one input of a graph takes, without the batch axis.

    Attributes:
        axes: sizes; the first may be "time", whose size is at least 1 and at most `max_steps`.
        lowest, highest: the numbers that it may hold, both included.
    """

    name: str
    dtype: Dtype
    axes: tuple[int | str, ...]
    max_steps: int
    lowest: float
    highest: float

    @classmethod
    def of(cls, spec: TensorSpec, note: TensorNote | None, max_steps: int) -> ArrayForm:
        """The form of an input of a graph in the normal form of `TensorsOptions`."""
        lowest, highest = _RANGES[spec.dtype]
        if note is not None:
            lowest = lowest if note.minimum is None else max(lowest, note.minimum)
            highest = highest if note.maximum is None else min(highest, note.maximum)
        return cls(spec.name, spec.dtype, spec.shape[1:], max_steps, lowest, highest)

    @property
    def is_over_time(self) -> bool:
        """Whether the first axis is time."""
        return self.axes[:1] == (TIME_AXIS,)

    def __str__(self) -> str:
        """Such as `float32 [time, 3]`."""
        return f"{self.dtype} [{', '.join(map(str, self.axes))}]"

    def read(self, value: Any) -> Array:
        """An input as an array of the dtype of the graph.

        Raises:
            InvalidInput: it has another shape, or an element is no such number; with the path within the input.
        """
        is_whole = self.dtype != "float32"
        if isinstance(value, np.ndarray | np.generic):
            numbers = self._of_array(np.asarray(value), is_whole)
        else:
            numbers = self._of_lists(value, is_whole)
        if not self._holds(numbers):
            self._refuse_number(numbers)
        return np.asarray(numbers, dtype=self.dtype, order="C")  # `ascontiguousarray` gives a number an axis

    def _of_lists(self, value: Any, is_whole: bool) -> Array:
        try:
            return array_of_lists(value, len(self.axes), is_whole, self._check_size)
        except InvalidInput as error:
            raise InvalidInput(f"{error.message}; this input takes {self}", error.field) from error

    def _of_array(self, array: Array, is_whole: bool) -> Array:
        if array.dtype.kind not in ("iu" if is_whole else "iuf"):
            raise InvalidInput(f"the numbers are {array.dtype}, this input takes {self}")
        if array.ndim != len(self.axes):
            raise InvalidInput(f"the shape is {list(array.shape)}, this input takes {self}")
        try:
            for axis, size in enumerate(array.shape):
                self._check_size(axis, size)
        except InvalidInput as error:
            raise InvalidInput(f"{error.message}; this input takes {self}") from error
        return array.astype(np.float32) if array.dtype == np.float16 else array  # its bounds would be infinite

    def _check_size(self, axis: int, size: int) -> None:
        wanted = self.axes[axis]
        if wanted != TIME_AXIS:
            if size != wanted:
                raise InvalidInput(f"axis {axis} has size {size} and not {wanted}", (0,) * axis)
            return
        if not size:
            raise InvalidInput("there are no steps, and at least one is needed")
        require_at_most(size, self.max_steps, "steps")

    def _holds(self, numbers: Array) -> bool:
        """Whether every number is within the range; NaN is not."""
        return bool(numbers.min() >= self.lowest and numbers.max() <= self.highest)

    def _refuse_number(self, numbers: Array) -> None:
        fits = (numbers >= self.lowest) & (numbers <= self.highest)
        index = int(np.argmin(fits.reshape(-1)))
        number = numbers.reshape(-1)[index].item()
        allowed = f"{_plain(self.lowest)} to {_plain(self.highest)}"
        raise InvalidInput(f"this number is {_plain(number)}, allowed are {allowed}", path_of(index, numbers.shape))


def _plain(number: float) -> str:
    """A number of a few digits: 255, 1.845e+19."""
    return str(number) if isinstance(number, int) and abs(number) < 10**6 else f"{number:.4g}"
