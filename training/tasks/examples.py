"""Example inputs and sample predictions of the tasks whose records are answered one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from service.bundle.load import Bundle
from service.errors import InvalidInput
from service.tasks.catalogue import answer, task_of
from service.tasks.core.task import Runner
from training.config.recipe import Recipe
from training.evaluation.task import Question

RecordT = TypeVar("RecordT")

#: Predictions shown after an epoch.
NUM_SAMPLES: Final = 5
#: Examples recorded in a bundle, and the longest text among them.
NUM_EXAMPLES: Final = 4
NUM_EXAMPLE_CHARACTERS: Final = 200


def sample_lines(
    bundle: Bundle,
    runner: Runner,
    records: Sequence[RecordT],
    inputs: Callable[[RecordT], Any],
    line: Callable[[RecordT, Mapping[str, Any]], str],
) -> tuple[str, ...]:
    """The first records with their predictions. `line` gets a record and the answer to its `inputs`."""
    task = task_of(bundle)
    lines = []
    for record in records[:NUM_SAMPLES]:
        value = inputs(record)
        try:
            lines.append(line(record, answer(task, runner, value, {}).model_dump()))
        except InvalidInput as refusal:  # an input beyond the model's limits must not end a run
            lines.append(f"{str(value)[:80]} -> refused: {refusal}")
    return tuple(lines)


def beside(predicted: str, right: str) -> str:
    """The prediction, with the right answer where it is wrong."""
    return predicted if predicted == right else f"{predicted} (not {right})"


def example_questions(
    recipe: Recipe,
    records: Sequence[RecordT],
    inputs: Callable[[RecordT], Any],
    parameters: Mapping[str, Any] | None = None,
) -> list[Question]:
    """The inputs that the recipe names, or else those of the first records."""
    values = recipe.examples or [inputs(record) for record in records[:NUM_EXAMPLES]]
    return [Question(value, parameters or {}) for value in values]


def example_text(text: str, recipe: Recipe) -> str:
    """The beginning of a text, short enough to be answered."""
    # Tokenizers produce at most one token per character, and two more for the ends.
    most = recipe.limits.max_input_tokens - 2
    return text.strip()[: max(1, min(NUM_EXAMPLE_CHARACTERS, most))]
