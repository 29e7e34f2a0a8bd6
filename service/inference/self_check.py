"""A bundle proves itself: its recorded examples are answered again, on the provider that will serve.

It is the warm-up too: after it, every graph of the bundle has run.
"""

from __future__ import annotations

from service.bundle.load import EXAMPLES_FILE
from service.errors import InferenceFailed, InvalidInput, ParityFailed
from service.inference.direct import OpenBundle, answer_one
from service.tasks.compare import differences

#: How far a score or logarithm of a probability may be from the recorded one; text and labels must be equal.
SELF_CHECK_TOLERANCE = 2e-3


def self_check(opened: OpenBundle, tolerance: float = SELF_CHECK_TOLERANCE) -> None:
    """Answer every example of the bundle and compare.

    Raises:
        ParityFailed: naming the first example that differs, and the field.
    """
    file = opened.bundle.path / EXAMPLES_FILE
    for number, example in enumerate(opened.bundle.examples, start=1):
        try:
            answer = answer_one(opened, example.inputs, example.parameters).model_dump(mode="json")
        except (InferenceFailed, InvalidInput) as error:
            raise ParityFailed(file, f"example {number} could not be answered: {error}") from error
        found = differences(example.answer, answer, tolerance)
        if found:
            raise ParityFailed(file, f"example {number}: {found[0]}")
