"""Batched inference with a bundle through the service's own task code, shared by the scoring of all tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.bundle.load import Bundle
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput
from service.tasks.catalogue import predicts, task_of
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import MAX_CHARACTERS_PER_TOKEN, PredictInput, Runner
from training.data.split import shortened_name
from training.evaluation.predictions import Keep, forget

#: The prediction for an input that the model refused. No label is spelt like this, so it counts as wrong.
REFUSED = ""

#: Labels that are told of a file, at most.
MAX_UNKNOWN_LABELS: Final = 10

Scores = dict[str, Any]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """One evaluation: the model, the runner, the request parameters, and callbacks for progress and predictions."""

    bundle: Bundle
    runner: Runner
    parameters: Mapping[str, Any]
    batch_size: int
    advance: Advance
    keep: Keep = forget


def answers(job: Job, values: Sequence[PredictInput]) -> list[Any]:
    """The service's answer to each value, in order; None where the value is refused.

    Batches hold values of similar length, the longest first, so that running out of memory happens at once.
    """
    task = task_of(job.bundle)
    assert predicts(task), "this measure is of whole answers"
    parameters = check_parameters(task.parameters_type, job.parameters)
    examples = [_preprocessed(task, value, parameters) for value in values]
    order = sorted((i for i, example in enumerate(examples) if example), key=lambda i: -examples[i].length)
    found: list[Any] = [None] * len(values)
    for start in range(0, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        outputs = task.run(job.runner, [examples[i] for i in rows])
        for i, output in zip(rows, outputs, strict=True):
            found[i] = task.postprocess(examples[i], output)
        job.advance(100 * (start + len(rows)) // len(order))
    return found


def _preprocessed(task: PredictTask[Any, Any], value: PredictInput, parameters: Any) -> Any:
    """The preprocessed value; None if the service would refuse it.

    Raises:
        InvalidInput: a parameter is wrong.
    """
    try:
        return task.preprocess(value, parameters)
    except InvalidInput as error:
        if error.field[:1] == ("parameters",):
            raise
        return None


def shortened(bundle: Bundle, tokenizer: TextTokenizer, texts: Sequence[str]) -> tuple[list[str], int]:
    """Texts cut at the end to the model's input limit, and the number that had to be cut."""
    limit = bundle.manifest.limits.max_input_tokens
    short = [_cut_to(text, limit, tokenizer) for text in texts]
    return short, sum(len(after) != len(before) for after, before in zip(short, texts, strict=True))


def _cut_to(text: str, limit: int, tokenizer: TextTokenizer) -> str:
    """The start of the text, at most `limit` tokens long."""
    text = text[: limit * MAX_CHARACTERS_PER_TOKEN]
    while (num_tokens := len(tokenizer.encode(text))) > limit:
        text = text[: len(text) * limit // num_tokens]
    return text


def unknown_labels(bundle: Bundle, gold: Sequence[str]) -> Scores:
    """Labels of the file that the model cannot predict, which all count as wrong: the most frequent ones, shortened.

    A wrong column or a wrong file has as many of them as records, and they may be private texts.
    """
    known = set(bundle.manifest.labels)
    counts = Counter(label for label in gold if label not in known)
    shown = [shortened_name(label) for label, _ in counts.most_common(MAX_UNKNOWN_LABELS)]
    facts: Scores = {"unknown_labels": sorted(shown)}
    if counts:
        facts |= {"unknown_labels_count": len(counts), "records_of_unknown_labels": counts.total()}
    return facts
