"""A tagger that also labels the whole text, in its answers and in drift metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from service.bundle.load import Bundle
from service.cli.backends import readable
from service.errors import InferenceFailed
from service.tasks.core.task import Array
from service.tasks.single_pass.tagging import Tagging, TaggingParameters
from tests.tasks.builders import FunctionRunner, tagging_bundle

LABELS, TEXT_LABELS = ("O", "B-city"), ("Weather", "Music", "Other")
#: Two texts: the logits of their labels, whose exponentials are probabilities.
LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=np.float32))


def joint_bundle() -> Bundle:
    plain = tagging_bundle(("rain", "in", "paris"), LABELS, scheme="bio")
    return replace(plain, manifest=plain.manifest.model_copy(update={"text_labels": TEXT_LABELS}))


def graph(logits: Array) -> FunctionRunner:
    """A graph that tags every third word of the vocabulary as a city."""

    def tagger(feeds: Mapping[str, Array]) -> dict[str, Array]:
        is_city = (feeds["words"] == 6)[..., None]
        return {"emissions": np.where(is_city, [0.0, 4.0], [4.0, 0.0]).astype(np.float32), "text_logits": logits}

    return FunctionRunner(tagger=tagger)


@pytest.fixture
def task() -> Tagging:
    return Tagging(joint_bundle())


def test_each_text_gets_its_own_label_beside_its_tags(task: Tagging) -> None:
    """Each text gets its most likely label and probability, and tags and spans are unchanged."""
    examples = [task.preprocess(text, TaggingParameters()) for text in ("rain in paris", "rain")]
    outputs = task.run(graph(LOGITS), examples)
    first, second = (task.postprocess(*pair) for pair in zip(examples, outputs, strict=True))
    assert (first.label, second.label) == ("Weather", "Other")
    assert (first.label_score, second.label_score) == (pytest.approx(0.7), pytest.approx(0.6))
    assert first.spans is not None
    assert [span.text for span in first.spans] == ["paris"]
    assert task.plain_answer(examples[0], outputs[0]) == first.model_dump()
    assert readable(first.model_dump()).splitlines()[-2:] == ["# city: paris", "# the text: Weather"]


def test_a_label_that_is_no_number_fails_its_text_alone(task: Tagging) -> None:
    """NaN in the label logits fails its own row only."""
    examples = [task.preprocess(text, TaggingParameters()) for text in ("rain", "paris")]
    spoilt = LOGITS.copy()
    spoilt[0, 1] = np.nan
    outputs = task.run(graph(spoilt), examples)
    with pytest.raises(InferenceFailed):
        task.plain_answer(examples[0], outputs[0])
    assert task.plain_answer(examples[1], outputs[1])["label"] == "Other"


def test_the_verdict_has_the_label_and_the_lower_confidence(task: Tagging) -> None:
    """The drift record has the labels of spans and text, and the lower of both confidences."""
    example = task.preprocess("rain in paris", TaggingParameters())
    (output,) = task.run(graph(LOGITS[:1]), [example])
    verdict = task.answer_statistics(task.plain_answer(example, output))
    assert list(verdict.labels) == ["city", "Weather"]
    assert verdict.confidence == pytest.approx(0.7)


def test_a_tagger_of_words_alone_says_nothing_of_the_text() -> None:
    """Without a text label the answer has neither of its keys, as before."""
    plain = Tagging(tagging_bundle(("rain",), LABELS, scheme="bio"))
    example = plain.preprocess("rain", TaggingParameters())
    (output,) = plain.run(graph(LOGITS[:1]), [example])
    assert plain.postprocess(example, output).model_dump().keys() == {"tokens", "spans"}
    assert list(plain.answer_statistics(plain.plain_answer(example, output)).labels) == []
