"""Text classification: label order, scores, padding and input validation."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError
from pydantic_core import to_json

from service.bundle.task_options import ClassificationOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array
from service.tasks.single_pass.classification import Classification, ClassificationAnswer, ClassificationParameters
from tests.tasks.builders import ElmanRunner, FunctionRunner, bundle, word_tokenizer

LABELS = ("ham", "spam", "other")


@pytest.fixture
def task() -> Classification:
    return Classification(bundle(ClassificationOptions(), {"text": word_tokenizer(["win", "money", "hello"])}, LABELS))


def answers(task: Classification, values: Sequence[str | list[str]]) -> list[ClassificationAnswer]:
    examples = [task.preprocess(value, ClassificationParameters(top_k=3)) for value in values]
    outputs = task.run(ElmanRunner(len(LABELS)), examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


def answer_to(task: Classification, logits: Array, top_k: int | None = None) -> ClassificationAnswer:
    """The answer to these logits `[labels]`."""
    example = task.preprocess("hello", ClassificationParameters(top_k=top_k))
    (output,) = task.run(FunctionRunner(classifier=lambda feeds: {"logits": logits[None]}), [example])
    return task.postprocess(example, output)


def test_labels_come_in_order_of_probability(task: Classification) -> None:
    answer = answer_to(task, np.log(np.array([0.2, 0.7, 0.1], dtype=np.float32)), top_k=10)
    assert answer.label == "spam"
    assert answer.top_k is not None
    assert [(item.label, round(item.score, 6)) for item in answer.top_k] == [
        ("spam", 0.7),
        ("ham", 0.2),
        ("other", 0.1),
    ]


def test_top_k_is_absent_unless_asked_for(task: Classification) -> None:
    answer = answer_to(task, np.zeros(3, dtype=np.float32))
    assert answer.model_dump() == {"label": "ham", "score": pytest.approx(1 / 3)}


def test_neighbours_in_the_batch_change_nothing(task: Classification) -> None:
    values: list[str | list[str]] = ["win money", "hello", ["win", "win", "money", "hello"], "who?"]
    assert answers(task, values) == [answers(task, [value])[0] for value in values]


def test_words_as_given_read_like_the_text(task: Classification) -> None:
    assert answers(task, ["win money"]) == answers(task, [["win", "money"]])


@pytest.mark.parametrize("value", ["", "\ud83d", "a" * 1_000_000, "win " * 65, [], ["win", ""], ["win"] * 65])
def test_refused_inputs(task: Classification, value: str | list[str]) -> None:
    with pytest.raises(InvalidInput):
        task.preprocess(value, ClassificationParameters())


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"top_k": "3"}, {"top_k": True}, {"topk": 3}])
def test_refused_parameters(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClassificationParameters.model_validate(wrong)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_fail_alone(task: Classification, wrong: float) -> None:
    """Non-finite logits fail their own row only."""
    logits = np.zeros((2, len(LABELS)), dtype=np.float32)
    logits[1, 1] = wrong
    example = task.preprocess("hello", ClassificationParameters())
    fine, failed = task.run(FunctionRunner(classifier=lambda feeds: {"logits": logits}), [example, example])
    assert task.postprocess(example, fine).label == "ham"
    with pytest.raises(InferenceFailed, match="not finite"):
        task.postprocess(example, failed)


@pytest.mark.parametrize("top_k", [None, 1, 2, 99])
def test_plain_answers_are_the_answers_of_the_schema(task: Classification, top_k: int | None) -> None:
    """The fast encoder's JSON parses to the same answer as the schema's."""
    example = task.preprocess("win money", ClassificationParameters(top_k=top_k))
    (output,) = task.run(ElmanRunner(len(LABELS)), [example])
    answer, written = task.postprocess(example, output), to_json(task.plain_answer(example, output))
    assert ClassificationAnswer.model_validate_json(written, strict=True) == answer
    assert json.loads(written) == answer.model_dump(mode="json")
