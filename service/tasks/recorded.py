"""Comparison of answers with those recorded in a bundle: structure and text must be equal, numbers nearly equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.bundle.hidden_output import hidden_output
from service.bundle.load import Bundle, Example
from service.bundle.manifest import Manifest, Precision
from service.bundle.task_options import ParsingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.hidden import finite_numbers
from service.tasks.core.task import Array, Runner, Task, run_with_hidden
from service.tasks.inputs.json_input import plain_value

#: Largest allowed difference of a score or log-probability from the recorded one, which is torch's in fp32; text and
#: labels must be equal. Real faults are far larger: padding that was not masked changed scores by 0.2 and more.
TOLERANCE: dict[Precision, float] = {"fp32": 2e-3, "bf16": 0.05, "int8": 0.1}

#: The same for the logits of labels. It is wide, as sums in TF32 differ by more; those of two labels do far more.
LABEL_TOLERANCE = 0.05


def faults_of_examples(task: Task, examples: Iterable[Example], runner: Runner, tolerance: float) -> Iterator[str]:
    """One sentence for each place where an answer differs from the recorded one."""
    for number, example in enumerate(examples, start=1):
        try:
            found = task.answer(runner, plain_value(example.inputs), example.parameters).model_dump(mode="json")
        except (InferenceFailed, InvalidInput) as error:
            yield f"example {number} could not be answered: {error}"
            continue
        yield from (f"example {number}: {fault}" for fault in differences(example.answer, found, tolerance))


def label_scores(
    bundle: Bundle, task: Task, runner: Runner, inputs: Any, parameters: Mapping[str, Any]
) -> dict[str, dict[str, float]] | None:
    """What the graph computes for each label in answering one input, by output and label; None if it has no labels.

    These are logits; of a tagger or parser those of the first word. They prove which label belongs to which row of the
    weights, for every label and not only for those that occur in an answer. Raises as `Task.answer`.
    """
    if not bundle.manifest.labels:
        return None
    listener = _Listener(runner)
    task.answer(listener, plain_value(inputs), parameters)
    return {
        output: dict(zip(labels, listener.first_row(output), strict=False))
        for output, labels in _label_outputs(bundle.manifest)
        if output in listener.outputs
    }


def faults_of_labels(bundle: Bundle, task: Task, runner: Runner) -> Iterator[str]:
    """One sentence for each label whose recorded score is not that of its row; the runner computes in fp32."""
    for number, example in enumerate(bundle.examples, start=1):
        if example.label_scores is None:
            continue
        try:
            found = label_scores(bundle, task, runner, example.inputs, example.parameters)
        except (InferenceFailed, InvalidInput) as error:
            yield f"example {number} could not be answered: {error}"
            continue
        faults = _compare(example.label_scores, found, LABEL_TOLERANCE, "label_scores")
        yield from (f"example {number}: {fault}" for fault in faults)


def recorded_embedding(bundle: Bundle, task: Task, runner: Runner, inputs: Any) -> list[float] | None:
    """The hidden state of an input as one vector; None if the bundle gives none. Raises as `Task.embed`."""
    if hidden_output(bundle.manifest) is None:
        return None
    (vector,) = task.embed(runner, [task.embedding_example(plain_value(inputs))])
    return [round(number, 6) for number in finite_numbers(vector)]


def faults_of_embeddings(bundle: Bundle, task: Task, runner: Runner, tolerance: float) -> Iterator[str]:
    """One sentence for each example whose recorded embedding is not what the graph gives."""
    for number, example in enumerate(bundle.examples, start=1):
        if example.embedding is None:
            continue
        try:
            found = recorded_embedding(bundle, task, runner, example.inputs)
        except (InferenceFailed, InvalidInput) as error:
            yield f"the embedding of example {number} could not be computed: {error}"
            continue
        faults = _compare(example.embedding, found, tolerance, "embedding")
        if faults:
            yield f"example {number}: {faults[0]} ({len(faults)} of {len(example.embedding)} numbers differ)"


class _Listener:
    """A runner that keeps the outputs of its runs: of each name the last one."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.outputs: dict[str, Array] = {}

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = run_with_hidden(self._runner, graph, feeds)
        self.outputs |= outputs
        return outputs

    def first_row(self, output: str) -> list[float]:
        """The scores of the labels at the first place that has any."""
        scores = self.outputs[output]
        return [round(float(score), 5) for score in scores.reshape(-1, scores.shape[-1])[0]]


def _label_outputs(manifest: Manifest) -> list[tuple[str, tuple[str, ...]]]:
    """The outputs of graphs that have one number for each label, and the labels in their order."""
    outputs = [
        ("emissions", manifest.labels),
        ("logits", manifest.labels),
        ("text_logits", manifest.text_labels),
    ]
    if isinstance(manifest.options, ParsingOptions):
        options = manifest.options
        outputs += [("relation_logits", options.relations), ("offset_logits", options.offsets)]
        outputs.append(("feature_logits", options.features))
    return outputs


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
