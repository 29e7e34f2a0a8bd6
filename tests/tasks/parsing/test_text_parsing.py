"""Raw texts are parsed sentence by sentence: one answer with all trees, places, CoNLL-U, and bounded runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.load import Bundle
from service.bundle.manifest import Limits
from service.bundle.task_options import SegmenterOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array
from service.tasks.parsing.parsing import Parsing
from service.tasks.parsing.parsing_answer import ParsingAnswer, ParsingParameters
from service.tasks.parsing.segmenter import SEGMENTER
from service.tasks.recorded import differences
from tests.tasks.builders import FunctionRunner
from tests.tasks.parsing.test_parsing import WIDTH, bundle_of, parser, relations
from tests.tasks.parsing.tiny_segmenter import MARGIN, TOKENIZER, WINDOW, by_rules

OPTIONS = SegmenterOptions(window=WINDOW, margin=MARGIN, expansions={"du": ("de", "le")}, suffixes={"'s": ("", "'s")})
TEXT = "Ada sees Paris. Lovelace's in\ndu bois\n\nIn  Paris"


def text_bundle(max_words: int = 64) -> Bundle:
    bundle = bundle_of("biaffine", segmenter=OPTIONS, limits=Limits(max_input_tokens=max_words))
    bundle.tokenizers[SEGMENTER] = TOKENIZER
    return bundle


def hidden_parser(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of `parser`; the hidden state of a word is its id."""
    states = np.repeat(feeds["words"][:, :, None], WIDTH, axis=2).astype(np.float32)
    return {**parser(feeds), HIDDEN_STATES: states}


def runner_of(**graphs: Any) -> FunctionRunner:
    return FunctionRunner(**{"parser": parser, "relations": relations, SEGMENTER: by_rules, **graphs})


def answered(values: list[Any], runner: FunctionRunner | None = None, **parameters: Any) -> list[ParsingAnswer]:
    task = Parsing(text_bundle())
    examples = [task.preprocess(value, ParsingParameters(**parameters)) for value in values]
    outputs = task.run(runner or runner_of(), examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


def test_all_sentences_are_in_one_answer() -> None:
    """Each is a tree over its own words with one root; heads are indices into the words of the whole text."""
    (answer,) = answered([TEXT])
    assert answer.sentences is not None
    spans = [(each.first_token, each.first_token + each.num_tokens) for each in answer.sentences]
    assert spans == [(0, 4), (4, 10), (10, 12)]
    for first, end in spans:
        heads = [token.head for token in answer.tokens[first:end]]
        assert heads.count(None) == 1
        assert all(first <= head < end for head in heads if head is not None)
    assert [TEXT[each.start : each.end] for each in answer.sentences] == [
        "Ada sees Paris.",
        "Lovelace's in\ndu bois",
        "In  Paris",
    ]


def test_each_sentence_is_parsed_as_its_words_alone() -> None:
    """Tags, heads, relations and their scores are those of the list of its words."""
    (answer,) = answered([TEXT])
    assert answer.sentences is not None
    for sentence in answer.sentences:
        own = answer.tokens[sentence.first_token : sentence.first_token + sentence.num_tokens]
        (alone,) = answered([[token.text for token in own]])
        assert alone.sentences is None
        for token, expected in zip(own, alone.tokens, strict=True):
            assert token.head == (None if expected.head is None else expected.head + sentence.first_token)
            one, other = ({**each.model_dump(), "head": 0, "start": 0, "end": 0} for each in (token, expected))
            assert differences(one, other, 1e-5) == []


def test_words_of_a_multiword_token_divide_or_share_its_place() -> None:
    """Parts of the text have their own places, other words that of the token; the token is told once."""
    (answer,) = answered([TEXT])
    shown = [(token.text, TEXT[token.start : token.end]) for token in answer.tokens[4:9]]
    assert shown == [("Lovelace", "Lovelace"), ("'s", "'s"), ("in", "in"), ("de", "du"), ("le", "du")]
    found = [(each.text, each.first_token, each.num_tokens) for each in answer.multiword_tokens or ()]
    assert found == [("Lovelace's", 4, 2), ("du", 7, 2)]
    assert [TEXT[each.start : each.end] for each in answer.multiword_tokens or ()] == ["Lovelace's", "du"]


@pytest.mark.parametrize(("unit", "size"), [("codepoints", 1), ("utf16", 2), ("bytes", 4)])
def test_places_are_in_the_unit_that_is_asked_for(unit: str, size: int) -> None:
    """Of words, sentences and multiword tokens alike."""
    (answer,) = answered(["\U0001f600 a. du"], offsets=unit)
    assert [token.start for token in answer.tokens] == [0, size + 1, size + 2, size + 4, size + 4]
    assert [each.start for each in answer.sentences or ()] == [0, size + 4]
    assert [each.start for each in answer.multiword_tokens or ()] == [size + 4]


def test_conllu_has_a_block_for_each_sentence() -> None:
    """Numbers and heads from 1 in each, ranges of multiword tokens, and SpaceAfter=No of tokens, not of their words."""
    (answer,) = answered([TEXT], conllu=True)
    assert answer.conllu is not None
    blocks = answer.conllu.split("\n\n")
    assert blocks.pop() == ""
    assert [block.splitlines()[:2] for block in blocks] == [
        ["# sent_id = 1", "# text = Ada sees Paris."],
        ["# sent_id = 2", "# text = Lovelace's in du bois"],
        ["# sent_id = 3", "# text = In Paris"],
    ]
    rows = [[line.split("\t") for line in block.splitlines()[2:]] for block in blocks]
    assert [[row[0] for row in block] for block in rows] == [
        ["1", "2", "3", "4"],
        ["1-2", "1", "2", "3", "4-5", "4", "5", "6"],
        ["1", "2"],
    ]
    assert rows[1][0][1:] == ["Lovelace's", *"________"]
    assert [row[9] for row in rows[0]] == ["_", "_", "SpaceAfter=No", "_"]
    assert all(row[9] == "_" for row in rows[1])
    assert all(0 <= int(row[6]) <= 6 for block in rows for row in block if "-" not in row[0])


def test_joined_sentences_say_so() -> None:
    """The last token of a sentence has SpaceAfter=No if the next one touches it."""
    (answer,) = answered(["a.in"], conllu=True)
    assert "2\t.\t_" in (answer.conllu or "")
    assert [line[-13:] for line in (answer.conllu or "").splitlines() if line.startswith("2\t.")] == ["SpaceAfter=No"]


def test_texts_and_lists_share_a_batch() -> None:
    """Each has the answer that it has alone, in order; lists of words are never cut."""
    values = [["ada", ".", "in"], TEXT, "in", ["sees"], "ada. in. paris."]
    together = answered(values)
    for answer, value in zip(together, values, strict=True):
        assert differences(answered([value])[0].model_dump(), answer.model_dump(), 1e-5) == []
    assert [answer.sentences is None for answer in together] == [True, False, False, True, False]


def test_a_text_stays_one_sentence_on_request() -> None:
    """`segment` false cuts by rules, as a bundle without a segmenter does; the segmenter is not run."""
    runner = runner_of()
    (answer,) = answered(["ada. in."], runner, segment=False)
    assert answer.sentences is None
    assert [token.text for token in answer.tokens] == ["ada", ".", "in", "."]
    assert SEGMENTER not in {graph for graph, _ in runner.calls}


def test_a_model_without_a_segmenter_refuses_to_cut() -> None:
    """The message says what to do; without the parameter it answers as before."""
    task = Parsing(bundle_of("biaffine"))
    with pytest.raises(InvalidInput, match="does not cut text into sentences: leave it out") as refused:
        task.preprocess("a b", ParsingParameters(segment=True))
    assert refused.value.field == ("parameters", "segment")
    assert task.preprocess("a b", ParsingParameters()).raw is None


def test_runs_are_bounded() -> None:
    """However many sentences a text has, one run has at most 32 of them, and 2048 words with padding."""
    runner = runner_of()
    text = "in. " * 200 + "\n\n" + ("a " * 60 + "\n\n") * 40
    (answer,) = answered([text], runner)
    assert len(answer.sentences or ()) == 240
    shapes = [feeds["words"].shape for graph, feeds in runner.calls if graph == "parser"]
    assert max(rows for rows, _ in shapes) == 32
    assert max(rows * words for rows, words in shapes) <= 2048
    assert len(shapes) == 7 + 2


def test_the_length_of_a_text_is_that_of_its_words_by_rules() -> None:
    """Batching and the limits of a request need it before the text is cut."""
    task = Parsing(text_bundle())
    example = task.preprocess("ada sees? " * 100, ParsingParameters())
    assert (example.length, task.input_statistics(example)) == (300, (300, 100))


def test_scores_of_characters_that_are_not_finite_are_no_answer() -> None:
    """Neither a parse nor a vector."""

    def broken(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"boundary_logits": by_rules(feeds)["boundary_logits"] * np.nan}

    with pytest.raises(InferenceFailed, match="scores of characters that are not finite"):
        answered(["a b."], runner_of(**{SEGMENTER: broken}))
    task = Parsing(text_bundle())
    with pytest.raises(InferenceFailed, match="scores of characters that are not finite"):
        task.embed(runner_of(**{SEGMENTER: broken}), [task.preprocess("a b.", ParsingParameters())])


def test_the_vector_of_a_text_is_the_mean_over_its_words() -> None:
    """Of all sentences, weighted by their words; lists beside it have their own."""
    task = Parsing(text_bundle())
    examples = [task.preprocess(value, ParsingParameters()) for value in ("sees. in in in in.", ["paris"])]
    found = task.embed(runner_of(parser=hidden_parser), examples)
    ids = task.preprocess(["sees", ".", *["in"] * 4, "."], ParsingParameters()).word_ids
    np.testing.assert_allclose(found[0], np.full(WIDTH, np.mean(ids)), rtol=1e-6)
    assert found[1].tolist() == [float(ids[0]) + 1] * WIDTH


def test_a_text_with_its_vector_on_request() -> None:
    """`return_hidden` gives the mean over all words, `normalize` scales it to length 1."""
    bundle = text_bundle()
    task = Parsing(bundle)
    (example,) = [task.preprocess("sees. in.", ParsingParameters())]
    for form, length in (("plain", None), ("unit", 1.0)):
        example.hidden = form  # type: ignore[assignment]
        (output,) = task.run(runner_of(parser=hidden_parser), [example])
        hidden = np.array(task.plain_answer(example, output)["hidden"])
        ids = task.preprocess(["sees", ".", "in", "."], ParsingParameters()).word_ids
        expected = float(np.linalg.norm(np.full(WIDTH, np.mean(ids)))) if length is None else length
        assert np.linalg.norm(hidden) == pytest.approx(expected, rel=1e-6)
