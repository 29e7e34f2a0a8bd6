"""Parsing: trees, relations, scores, padding, and the input and numbers that are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.load import Bundle
from service.bundle.manifest import Limits
from service.bundle.task_options import ParsingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array
from service.tasks.parsing.head_encoding import encode_heads
from service.tasks.parsing.parsing import Parsing
from service.tasks.parsing.parsing_answer import ParsingAnswer, ParsingParameters
from service.tasks.recorded import differences
from tests.tasks.builders import FunctionRunner, parsing_bundle

WORDS = ("ada", "lovelace", "sees", "paris", "in")
TAGS = ("NOUN", "VERB", "ADP")
RELATIONS = ("root", "nsubj", "obl", "case")
FEATURES = ("_", "Number=Sing")
OFFSETS = ("ROOT", *(f"{tag}:{sign}{number}" for tag in TAGS for sign in "+-" for number in (1, 2)))
WIDTH = 4


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def padded(feeds: Mapping[str, Array], *width: int) -> Array:
    return np.full((*feeds["words"].shape, *width), np.nan, dtype=np.float32)


def parser(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs that depend on the ids of a row alone; NaN in the padding and for a word as its own head."""
    batch, time = feeds["words"].shape
    sizes = {
        "emissions": len(TAGS),
        "feature_logits": len(FEATURES),
        "dependents": WIDTH,
        "offset_logits": len(OFFSETS),
    }
    outputs = {name: padded(feeds, size) for name, size in (sizes | {"relation_logits": len(RELATIONS)}).items()}
    outputs["arc_scores"] = padded(feeds, time + 1)
    outputs["heads"] = np.full((batch, time + 1, WIDTH), np.nan, dtype=np.float32)
    for row, length in enumerate(feeds["lengths"]):
        seed = int(feeds["words"][row, :length] @ (np.arange(length) + 1))
        for number, (name, values) in enumerate(outputs.items()):
            size = length + 1 if name in ("arc_scores", "heads") else values.shape[2]
            rows = length + 1 if name == "heads" else length
            size = WIDTH if name == "heads" else size
            values[row, :rows, :size] = numbers(seed + number, rows, size)
        outputs["arc_scores"][row, np.arange(length), np.arange(length) + 1] = np.nan
    return outputs


def relations(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"relation_logits": (feeds["dependents"] + 2 * feeds["heads"]) @ numbers(7, WIDTH, len(RELATIONS))}


def task_of(decoder: str, **more: Any) -> Parsing:
    return Parsing(bundle_of(decoder, **more))


def bundle_of(decoder: str, **more: Any) -> Bundle:
    offsets = OFFSETS if decoder == "labels" else ()
    return parsing_bundle(WORDS, TAGS, RELATIONS, decoder=decoder, offsets=offsets, features=FEATURES, **more)


def answers(task: Parsing, values: Sequence[str | Sequence[str]], **parameters: Any) -> list[ParsingAnswer]:
    examples = [task.preprocess(value, ParsingParameters(**parameters)) for value in values]
    outputs = task.run(FunctionRunner(parser=parser, relations=relations), examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


DECODERS = pytest.mark.parametrize("decoder", ["biaffine", "labels"])


@DECODERS
def test_an_answer_is_a_tree_with_one_root(decoder: str) -> None:
    """Every word reaches the root, one word has the relation `root`, and it is the one without a head."""
    for answer in answers(task_of(decoder), ["ada sees paris", "ada", ["in"] * 20, "sees ada in paris in ada"]):
        heads = [token.head for token in answer.tokens]
        for place in range(len(heads)):
            seen = 0
            while (head := heads[place]) is not None and seen <= len(heads):
                place, seen = head, seen + 1
            assert head is None
        assert heads.count(None) == 1
        assert [token.relation == "root" for token in answer.tokens] == [head is None for head in heads]


SENTENCES = st.lists(st.lists(st.sampled_from([*WORDS, "?"]), min_size=1, max_size=6), min_size=1, max_size=5)


@DECODERS
@settings(max_examples=30, deadline=None)
@given(SENTENCES)
def test_neighbours_in_the_batch_change_nothing(decoder: str, sentences: list[list[str]]) -> None:
    task = task_of(decoder)
    alone = [answers(task, [sentence])[0] for sentence in sentences]
    for found, expected in zip(answers(task, sentences), alone, strict=True):
        assert differences(expected.model_dump(), found.model_dump(), 1e-5) == []


def answer_to(task: Parsing, value: str | Sequence[str], **outputs: Array) -> ParsingAnswer:
    """The answer to these outputs of one sentence; the others are zeros."""
    example = task.preprocess(value, ParsingParameters())
    size = example.length
    zeros = {"emissions": (size, 3), "feature_logits": (size, 2), "arc_scores": (size, size + 1)}
    zeros |= {"dependents": (size, WIDTH), "heads": (size + 1, WIDTH), "offset_logits": (size, len(OFFSETS))}
    given_ = {name: outputs.get(name, np.zeros(shape, np.float32))[None] for name, shape in zeros.items()}
    logits = outputs.get("relation_logits", np.zeros((size, 4), np.float32))
    runner = FunctionRunner(
        parser=lambda feeds: given_ | {"relation_logits": logits[None]},
        relations=lambda feeds: {"relation_logits": logits},
    )
    (output,) = task.run(runner, [example])
    return task.postprocess(example, output)


def test_scores_are_probabilities_of_what_was_chosen() -> None:
    """The score of a head is among the root and the other words; the word itself is no candidate."""
    arcs = np.log(np.array([[1, 900, 3], [6, 2, 900]], dtype=np.float32))
    logits = np.log(np.array([[1, 5, 2, 2], [4, 2, 2, 2]], dtype=np.float32))
    first, second = answer_to(task_of("biaffine"), "ada sees", arc_scores=arcs, relation_logits=logits).tokens
    assert (first.head, first.relation, second.head, second.relation) == (1, "nsubj", None, "root")
    assert [first.head_score, second.head_score] == pytest.approx([0.75, 0.75])
    assert [first.relation_score, second.relation_score] == pytest.approx([0.5, 0.4])
    assert [first.score, second.score] == pytest.approx([1 / 3, 1 / 3])


def test_the_relation_to_the_root_is_kept_for_the_root() -> None:
    """Where `root` is the best relation of every word, the others get their second best."""
    logits = np.array([[9, 1, 2, 0], [9, 1, 0, 2]], dtype=np.float32)
    arcs = np.array([[0, 0, 5], [5, 0, 0]], dtype=np.float32)
    answer = answer_to(task_of("biaffine"), "ada sees", arc_scores=arcs, relation_logits=logits)
    assert [token.relation for token in answer.tokens] == ["obl", "root"]


def test_encoded_heads_are_read_with_the_predicted_tags() -> None:
    """Logits that favour the encodings of a tree give this tree."""
    tags, heads = ["NOUN", "VERB", "ADP", "NOUN"], [2, 0, 4, 2]
    emissions = np.eye(3, dtype=np.float32)[[TAGS.index(tag) for tag in tags]] * 9
    encoded = [OFFSETS.index(encoding) for encoding in encode_heads(tags, heads)]
    logits = np.eye(len(OFFSETS), dtype=np.float32)[encoded] * 9
    answer = answer_to(task_of("labels"), "ada sees in paris", emissions=emissions, offset_logits=logits)
    assert [token.head for token in answer.tokens] == [1, None, 3, 1]
    assert min(token.head_score for token in answer.tokens) > 0.99


def test_features_are_in_the_answer_where_the_model_gives_them() -> None:
    logits = np.array([[0, 1], [1, 0]], dtype=np.float32)
    answer = answer_to(task_of("biaffine"), "ada sees", feature_logits=logits)
    assert [token.features for token in answer.tokens] == ["Number=Sing", "_"]
    without = Parsing(parsing_bundle(WORDS, TAGS, RELATIONS))
    assert "features" not in answer_to(without, "ada sees").model_dump()["tokens"][0]


def test_lemmas_are_found_with_the_predicted_tags() -> None:
    """A word that is a noun and a verb has the lemma of its tag; CoNLL-U has it too; without a table there is none."""
    task = task_of("biaffine", lemmatizer={"table": {"NOUN": {"0-": "sees"}, "VERB": {"1-": "sees"}}})
    logits = np.array([[9, 0, 0], [0, 9, 0]], dtype=np.float32)
    answer = answer_to(task, "sees sees", emissions=logits)
    assert [(token.tag, token.lemma) for token in answer.tokens] == [("NOUN", "sees"), ("VERB", "see")]
    (answer,) = answers(task, ["in paris"], conllu=True)
    assert answer.conllu is not None
    assert [line.split("\t")[2] for line in answer.conllu.splitlines()[1:3]] == [token.lemma for token in answer.tokens]
    assert "lemma" not in answer_to(task_of("biaffine"), "ada sees").model_dump()["tokens"][0]


def test_one_run_scores_the_relations_of_the_whole_batch() -> None:
    """`relations` gets one pair of vectors for each word, of all sentences."""
    task = task_of("biaffine")
    runner = FunctionRunner(parser=parser, relations=relations)
    task.run(runner, [task.preprocess(text, ParsingParameters()) for text in ("ada sees paris", "in", "ada in")])
    assert [graph for graph, _ in runner.calls] == ["parser", "relations"]
    assert runner.calls[1][1]["dependents"].shape == runner.calls[1][1]["heads"].shape == (6, WIDTH)


@pytest.mark.parametrize("name", ["emissions", "feature_logits", "arc_scores", "relation_logits"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_no_answer(name: str, bad: float) -> None:
    values = np.zeros(
        (2, {"emissions": 3, "feature_logits": 2, "arc_scores": 3, "relation_logits": 4}[name]), np.float32
    )
    values[1, 0] = bad
    with pytest.raises(InferenceFailed, match="not finite"):
        answer_to(task_of("biaffine"), "ada sees", **{name: values})


def test_a_bad_row_spoils_no_other() -> None:
    """Scores of encodings that are not finite fail their own sentence alone."""
    task = task_of("labels")
    examples = [task.preprocess(text, ParsingParameters()) for text in ("ada sees", "paris")]

    def spoilt(feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = parser(feeds)
        outputs["offset_logits"][0, 1, 2] = np.nan
        return outputs

    first, second = task.run(FunctionRunner(parser=spoilt), examples)
    assert task.postprocess(examples[1], second).tokens[0].head is None
    with pytest.raises(InferenceFailed):
        task.postprocess(examples[0], first)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "empty"),
        ("\u200a \n", "empty"),
        ([], "the list of words is empty"),
        (["ada", " \t"], "the text is empty"),
        (["ada"] * 4, "at most 3"),
        ("ada " * 4, "the input has 4 words, this model takes at most 3"),
        ("ada " * 400, "characters, this model takes at most 96"),
        (["ada\ud800"], "surrogate"),
    ],
)
def test_input_that_cannot_be_parsed_is_refused(value: str | list[str], message: str) -> None:
    task = task_of("biaffine", limits=Limits(max_input_tokens=3))
    with pytest.raises(InvalidInput, match=message):
        task.preprocess(value, ParsingParameters())


@DECODERS
def test_a_thousand_words_are_parsed(decoder: str) -> None:
    task = task_of(decoder, limits=Limits(max_input_tokens=1000))
    (answer,) = answers(task, [["ada", "sees"] * 500], conllu=True)
    assert len(answer.tokens) == 1000
    assert answer.conllu is not None
    assert answer.conllu.count("\n") == 1002


def test_conllu_is_returned_on_request() -> None:
    (answer,) = answers(task_of("biaffine"), ["ada sees."], conllu=True, offsets="bytes")
    assert answer.conllu is not None
    lines = answer.conllu.splitlines()
    assert lines[0] == "# text = ada sees."
    heads = [0 if token.head is None else token.head + 1 for token in answer.tokens]
    assert [int(line.split("\t")[6]) for line in lines[1:4]] == heads
    assert lines[2].endswith("SpaceAfter=No")


def test_statistics_are_of_tags_and_heads() -> None:
    task = task_of("biaffine")
    arcs = np.log(np.array([[1, 1, 3], [3, 1, 1]], dtype=np.float32))
    answer = answer_to(task, "ada sees", arc_scores=arcs).model_dump()
    labels, confidence = task.answer_statistics(answer)
    assert list(labels) == ["NOUN", "NOUN"]
    assert confidence == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offsets": ["ROOT"]}, "offsets belong to the decoder labels"),
        ({"decoder": "labels"}, "offsets belong to the decoder labels"),
        ({"decoder": "labels", "offsets": ["NOUN"]}, "should match pattern"),
        ({"decoder": "labels", "offsets": ["NOUN:+0"]}, "should match pattern"),
        ({"decoder": "labels", "offsets": ["NOUN:+99999"]}, "should match pattern"),
        ({"relations": []}, "at least 1 item"),
        ({"relations": ["a", "a"]}, "relations must be distinct"),
        ({"features": ["_", "_"]}, "features must be distinct"),
    ],
)
def test_options_that_fit_no_parser_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParsingOptions.model_validate({"relations": ["root"]} | options)
