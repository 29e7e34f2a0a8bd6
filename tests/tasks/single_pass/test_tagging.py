"""Tagging: offsets, spans, scores, padding and input validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array
from service.tasks.recorded import differences
from service.tasks.single_pass.tagging import Tagging, TaggingAnswer, TaggingParameters
from tests.tasks.builders import FunctionRunner, tagging_bundle

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = ("ada", "lovelace", "sees", "paris", "in")
#: The label of each word, by id; unknown words are outside.
LABEL_OF_ID = {4: 1, 5: 2, 7: 3}


def tagger(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Emissions that favour the word's own label by 3, varied slightly by its first character; NaN in the padding."""
    words = feeds["words"]
    emissions = np.full((*words.shape, len(LABELS)), np.nan, dtype=np.float32)
    for row, length in enumerate(feeds["lengths"]):
        for time in range(length):
            emissions[row, time] = feeds["characters"][row, time, 0] / 100 * np.arange(len(LABELS))
            emissions[row, time, LABEL_OF_ID.get(int(words[row, time]), 0)] += 3.0
    return {"emissions": emissions}


def answers(task: Tagging, values: Sequence[str | Sequence[str]]) -> list[TaggingAnswer]:
    examples = [task.preprocess(value, TaggingParameters()) for value in values]
    outputs = task.run(FunctionRunner(tagger=tagger), examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


@pytest.fixture
def task() -> Tagging:
    return Tagging(tagging_bundle(WORDS, LABELS, scheme="bio"))


def test_raw_text_gets_tags_spans_and_offsets_of_the_original(task: Tagging) -> None:
    """Offsets of tags and spans count code points of the raw text, also after non-BMP characters."""
    text = "\N{GRINNING FACE}\u00e9 ada  lovelace sees\nparis!"
    (answer,) = answers(task, [text])
    assert answer.spans is not None
    assert [(span.label, span.text) for span in answer.spans] == [("PER", "ada  lovelace"), ("LOC", "paris")]
    assert all(text[span.start : span.end] == span.text for span in answer.spans)
    assert all(text[token.start : token.end] == token.text for token in answer.tokens)
    person = answer.spans[0]
    members = answer.tokens[person.first_token : person.end_token]
    assert [token.text for token in members] == ["ada", "lovelace"]
    assert person.score == pytest.approx(sum(token.score for token in members) / 2)


def test_words_as_given_have_token_indices_and_no_offsets(task: Tagging) -> None:
    (answer,) = answers(task, [["in", "ada", "lovelace"]])
    assert answer.spans is not None
    (span,) = answer.spans
    assert (span.text, span.start, span.end, span.first_token, span.end_token) == ("ada lovelace", None, None, 1, 3)
    assert [token.start for token in answer.tokens] == [None, None, None]


def answer_to(task: Tagging, value: str | Sequence[str], emissions: Array) -> TaggingAnswer:
    """The answer to these emissions `[time, labels]`."""
    example = task.preprocess(value, TaggingParameters())
    (output,) = task.run(FunctionRunner(tagger=lambda feeds: {"emissions": emissions[None]}), [example])
    return task.postprocess(example, output)


def test_softmax_scores_are_probabilities_of_the_tag(task: Tagging) -> None:
    (token,) = answer_to(task, "ada", np.log(np.array([[1, 6, 1, 1, 1]], dtype=np.float32))).tokens
    assert token.tag == "B-PER"
    assert token.score == pytest.approx(0.6)


def test_crf_decoding_obeys_transitions() -> None:
    """With I-PER forbidden after O, the CRF takes the second-best tag where softmax would not."""
    transitions = np.zeros((len(LABELS) + 1, len(LABELS) + 1), dtype=np.float32)
    transitions[0, 2] = -100.0
    task = Tagging(tagging_bundle(WORDS, LABELS, decoder="crf", scheme="bio", transitions=transitions))
    emissions = np.zeros((2, len(LABELS)), dtype=np.float32)
    emissions[0, 0], emissions[1, 2], emissions[1, 3] = 9.0, 5.0, 4.0
    answer = answer_to(task, ["in", "lovelace"], emissions)
    assert [token.tag for token in answer.tokens] == ["O", "B-LOC"]
    assert all(0.5 < token.score < 1.0 for token in answer.tokens)


def test_without_a_scheme_there_are_no_spans() -> None:
    task = Tagging(tagging_bundle(WORDS, ("NOUN", "VERB", "ADJ", "ADV", "X")))
    (answer,) = answers(task, ["ada sees"])
    assert "spans" not in answer.model_dump()


SENTENCES = st.lists(
    st.lists(st.sampled_from([*WORDS, "unknown", "?"]), min_size=1, max_size=6), min_size=1, max_size=5
)


@settings(max_examples=30, deadline=None)
@given(SENTENCES)
def test_neighbours_in_the_batch_change_nothing(sentences: list[list[str]]) -> None:
    task = Tagging(tagging_bundle(WORDS, LABELS, scheme="bio"))
    assert answers(task, sentences) == [answers(task, [sentence])[0] for sentence in sentences]


@settings(max_examples=30, deadline=None)
@given(SENTENCES)
def test_neighbours_change_nothing_for_a_crf(sentences: list[list[str]]) -> None:
    """A batched CRF gives the same tags as alone, and scores within rounding."""
    transitions = np.random.default_rng(1).normal(size=(len(LABELS) + 1,) * 2).astype(np.float32)
    task = Tagging(tagging_bundle(WORDS, LABELS, decoder="crf", transitions=transitions))
    alone = [answers(task, [sentence])[0] for sentence in sentences]
    for found, expected in zip(answers(task, sentences), alone, strict=True):
        assert differences(expected.model_dump(), found.model_dump(), 1e-12) == []


@pytest.mark.parametrize("scheme", ["bio", None])
@pytest.mark.parametrize(
    "value", ['ada lovelace "sees" \N{GRINNING FACE}\x07\\ paris\u2028', ["ada", "li\nne", "paris"]]
)
def test_plain_answers_are_the_answers_of_the_schema(scheme: str | None, value: str | list[str]) -> None:
    """The fast encoder's JSON parses to the same answer as the schema's."""
    task = Tagging(tagging_bundle(WORDS, LABELS, scheme=scheme))
    example = task.preprocess(value, TaggingParameters())
    (output,) = task.run(FunctionRunner(tagger=tagger), [example])
    answer, written = task.postprocess(example, output), to_json(task.plain_answer(example, output))
    assert TaggingAnswer.model_validate_json(written, strict=True) == answer
    assert json.loads(written) == answer.model_dump(mode="json")


def test_characters_are_fed_only_if_the_graph_reads_them() -> None:
    bundle = tagging_bundle(WORDS, LABELS)
    graph = bundle.manifest.graphs["tagger"]
    graph = graph.model_copy(update={"inputs": tuple(t for t in graph.inputs if t.name != "characters")})
    object.__setattr__(bundle, "manifest", bundle.manifest.model_copy(update={"graphs": {"tagger": graph}}))
    runner = FunctionRunner(tagger=lambda feeds: {"emissions": np.zeros((*feeds["words"].shape, 5), np.float32)})
    task = Tagging(bundle)
    task.run(runner, [task.preprocess("ada", TaggingParameters())])
    assert runner.calls[0][1].keys() == {"words", "lengths"}


def test_long_words_are_cut_to_the_characters_the_model_reads(task: Tagging) -> None:
    example = task.preprocess("a" * 1000, TaggingParameters())
    assert [len(ids) for ids in example.character_ids] == [24]


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ("", (), "empty"),
        (" \n\t", (), "empty"),
        ("a \ud800 b", (), "surrogate"),
        ("a" * 1_000_000, (), "1000000 characters"),
        ("a " * 65, (), "65 words, this model takes at most 64"),
        ([], (), "list of words is empty"),
        (["a"] * 65, (), "65 words"),
        (["ok", " "], (1,), "empty"),
        (["ok", "\udfff"], (1,), "surrogate"),
        (["ok", "a" * 1_000_000], (1,), "characters"),
    ],
)
def test_refused_inputs_say_where_and_why(
    task: Tagging, value: str | list[str], field: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        task.preprocess(value, TaggingParameters())
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["\0", "\N{FAMILY}\u200d!", "\u0634\u0643\u0631\u0627 \u202e abc", "\u200b"])
def test_any_unicode_gets_tags(task: Tagging, text: str) -> None:
    (answer,) = answers(task, [text])
    assert "".join(token.text for token in answer.tokens) == "".join(text.split())


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_fail_that_example_alone(decoder: str, wrong: float) -> None:
    """Non-finite emissions fail their own row only."""
    transitions = np.zeros((len(LABELS) + 1,) * 2, dtype=np.float32) if decoder == "crf" else None
    task = Tagging(tagging_bundle(WORDS, LABELS, decoder=decoder, transitions=transitions))
    emissions = np.zeros((2, 2, len(LABELS)), dtype=np.float32)
    emissions[1, 1, 2] = wrong
    examples = [task.preprocess(words, TaggingParameters()) for words in (["ada"], ["in", "paris"])]
    fine, failed = task.run(FunctionRunner(tagger=lambda feeds: {"emissions": emissions}), examples)
    assert len(task.postprocess(examples[0], fine).tokens) == 1
    with pytest.raises(InferenceFailed, match="not finite"):
        task.postprocess(examples[1], failed)
