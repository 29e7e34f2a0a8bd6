"""Nested lists of numbers, as JSON has them, to an array of a form that is known, at a cost that the form bounds.

The lists are opened level by level, and the sizes of a level are checked before the next one is opened, so that nothing
is read of an input that is too long, ragged, or nested deeper than the form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.bundle.padding import Array
from service.errors import InvalidInput

#: Raises InvalidInput for a size that an axis, counted from 0, cannot have.
CheckSize = Callable[[int, int], None]

_WHOLE = frozenset({int})
_NUMBERS = frozenset({int, float})
_MAX_SHOWN = 40


def array_of_lists(value: Any, num_axes: int, is_whole: bool, check_size: CheckSize) -> Array:
    """The numbers as int64 if they are whole, else as float64, with `num_axes` axes.

    Args:
        value: a number where there are no axes, else lists of lists.
        is_whole: whether only integers are accepted.
        check_size: called with each axis and its size, the outermost first.

    Raises:
        InvalidInput: the lists are not that deep or not of equal length, or an element is no such number; with the
            path of the list or element.
    """
    level: list[Any] = [value]
    shape: list[int] = []
    for axis in range(num_axes):
        if set(map(type, level)) != {list}:
            _refuse_no_list(level, shape)
        size = len(level[0])
        check_size(axis, size)
        if set(map(len, level)) != {size}:
            _refuse_ragged(level, shape, size)
        shape.append(size)
        level = list(chain.from_iterable(level))
    types = _WHOLE if is_whole else _NUMBERS
    if not types.issuperset(map(type, level)):
        _refuse_element(level, shape, types)
    return _numbers(level, shape, is_whole).reshape(shape)


def path_of(index: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The place of an element, counted in the order of lists."""
    return tuple(map(int, np.unravel_index(index, shape))) if shape else ()


def _numbers(flat: list[Any], shape: Sequence[int], is_whole: bool) -> Array:
    try:
        return np.array(flat, dtype=np.int64 if is_whole else np.float64)
    except OverflowError:
        index = next(index for index, number in enumerate(flat) if _is_too_large(number, is_whole))
        shown = f"{flat[index]:.4g}" if isinstance(flat[index], float) else _shortened(flat[index])
        bits = "64 bits" if is_whole else "32 bits"
        raise InvalidInput(f"this number, {shown}, does not fit {bits}", path_of(index, shape)) from None


def _is_too_large(number: int | float, is_whole: bool) -> bool:
    try:
        np.array(number, dtype=np.int64 if is_whole else np.float64)
    except OverflowError:
        return True
    return False


def _shortened(number: int) -> str:
    return f"an integer of {number.bit_length()} bits"


def _refuse_no_list(level: Sequence[Any], shape: Sequence[int]) -> None:
    index = next(index for index, part in enumerate(level) if type(part) is not list)
    raise InvalidInput(f"this is {_kind(level[index])}, here belongs a list", path_of(index, shape))


def _refuse_ragged(level: Sequence[Any], shape: Sequence[int], size: int) -> None:
    index = next(index for index, part in enumerate(level) if len(part) != size)
    found = f"this list has length {len(level[index])}, the first one beside it {size}"
    raise InvalidInput(f"{found}: lists beside each other are of one length", path_of(index, shape))


def _refuse_element(flat: Sequence[Any], shape: Sequence[int], types: frozenset[type]) -> None:
    index = next(index for index, element in enumerate(flat) if type(element) not in types)
    wanted = "a whole number" if types is _WHOLE else "a number"
    raise InvalidInput(f"this is {_kind(flat[index])}, here belongs {wanted}", path_of(index, shape))


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:_MAX_SHOWN]!r}"
    if isinstance(value, float):
        return f"the number {value:.4g}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a number"
