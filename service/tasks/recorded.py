"""The answers that a bundle was published with, given again and compared."""

from __future__ import annotations

from collections.abc import Iterator

from service.bundle.load import Bundle
from service.bundle.manifest import Precision
from service.errors import InferenceFailed, InvalidInput
from service.tasks.base import Runner
from service.tasks.catalogue import answer, task_of
from service.tasks.compare import differences

#: How far a score or logarithm of a probability may be from the recorded one, which is torch's in fp32; text and labels
#: must be equal. A fault is far beyond these: padding that is not masked moved scores by 0.2 and more.
TOLERANCE: dict[Precision, float] = {"fp32": 2e-3, "bf16": 0.05, "int8": 0.1}


def faults_of_examples(bundle: Bundle, runner: Runner, tolerance: float) -> Iterator[str]:
    """A sentence for each place where an example of the bundle is answered otherwise than recorded."""
    task = task_of(bundle)
    for number, example in enumerate(bundle.examples, start=1):
        try:
            found = answer(task, runner, example.inputs, example.parameters).model_dump(mode="json")
        except (InferenceFailed, InvalidInput) as error:
            yield f"example {number} could not be answered: {error}"
            continue
        yield from (f"example {number}: {fault}" for fault in differences(example.answer, found, tolerance))
