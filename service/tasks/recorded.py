"""Comparison of answers with those recorded in a bundle: structure and text must be equal, numbers nearly equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.bundle.load import Example
from service.bundle.manifest import Precision
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Runner, Task
from service.tasks.inputs.json_input import plain_value

#: Largest allowed difference of a score or log-probability from the recorded one, which is torch's in fp32; text and
#: labels must be equal. Real faults are far larger: padding that was not masked changed scores by 0.2 and more.
TOLERANCE: dict[Precision, float] = {"fp32": 2e-3, "bf16": 0.05, "int8": 0.1}


def faults_of_examples(task: Task, examples: Iterable[Example], runner: Runner, tolerance: float) -> Iterator[str]:
    """One sentence for each place where an answer differs from the recorded one."""
    for number, example in enumerate(examples, start=1):
        try:
            found = task.answer(runner, plain_value(example.inputs), example.parameters).model_dump(mode="json")
        except (InferenceFailed, InvalidInput) as error:
            yield f"example {number} could not be answered: {error}"
            continue
        yield from (f"example {number}: {fault}" for fault in differences(example.answer, found, tolerance))


def differences(expected: Any, actual: Any, tolerance: float) -> list[str]:
    """One sentence for each place where `actual` differs from `expected`; an empty list if they agree.

    Both are JSON values. Keys, lengths, strings, integers and booleans must be equal. A number with a fraction may
    differ by `tolerance * max(1, abs(expected))`; NaN is equal to nothing.
    """
    return _compare(expected, actual, tolerance, "answer")


def _compare(expected: Any, actual: Any, tolerance: float, path: str) -> list[str]:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _compare_mappings(expected, actual, tolerance, path)
    if _is_list(expected) and _is_list(actual):
        return _compare_lists(expected, actual, tolerance, path)
    if _is_number(expected) and _is_number(actual):
        agrees = _numbers_agree(expected, actual, tolerance)
    else:
        agrees = type(expected) is type(actual) and bool(expected == actual)
    return [] if agrees else [f"{path}: expected {expected!r}, found {actual!r}"]


def _compare_mappings(expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: float, path: str) -> list[str]:
    missing = [f"{path}.{key}: expected {expected[key]!r}, found nothing" for key in expected if key not in actual]
    surplus = [f"{path}.{key}: expected nothing, found {actual[key]!r}" for key in actual if key not in expected]
    shared = [key for key in expected if key in actual]
    nested = [_compare(expected[key], actual[key], tolerance, f"{path}.{key}") for key in shared]
    return missing + surplus + [line for lines in nested for line in lines]


def _compare_lists(expected: Sequence[Any], actual: Sequence[Any], tolerance: float, path: str) -> list[str]:
    if len(expected) != len(actual):
        return [f"{path}: expected {len(expected)} items, found {len(actual)}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [line for index, (e, a) in pairs for line in _compare(e, a, tolerance, f"{path}[{index}]")]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers_agree(expected: float, actual: float, tolerance: float) -> bool:
    if isinstance(expected, int) and isinstance(actual, int):
        return expected == actual
    return abs(expected - actual) <= tolerance * max(1.0, abs(expected))
