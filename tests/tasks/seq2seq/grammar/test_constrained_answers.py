"""Answers constrained by a grammar: stacks, words as terminals, the search in any company, and refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.bundle.load import Bundle
from service.errors import BundleCorrupt, InvalidInput
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_grammar import TextGrammar, WordGrammar
from service.tasks.seq2seq.translation import Translation, TranslationAnswer, TranslationParameters
from tests.tasks.builders import ElmanRunner, translation_bundle
from tests.tasks.seq2seq.test_copying import SOURCE, CopyRunner, copying_bundle, tokenizer

TARGET = ("SELECT", "WHERE", "AND", "=", '"', "(", ")", "me", "cs", "\uffed(", "7")
SIZE = 4 + len(TARGET)
GRAMMAR = """
start: "SELECT" NAME ["WHERE" condition ("AND" condition)*]
condition: NAME "=" value
value: NUMBER | QUOTE PIECE* QUOTE | "(" start ")"
QUOTE: "\\""
NAME: /[a-z]\\w*/
NUMBER: /[0-9]+/
PIECE: /[^"]+/
"""
HOSTILE = ["who teaches 'EECS' \"492\" (me) ?", '" " ( ) "', "SELECT AND WHERE = =", "日本 ﬀ é\u0301 ({[ Ünï", "x"]


def bundle_with(grammar: str, target: Sequence[str] = TARGET) -> Bundle:
    made = copying_bundle()
    options = made.manifest.options.model_copy(update={"grammar": grammar})
    manifest = made.manifest.model_copy(update={"options": options})
    tokenizers = {"source": tokenizer(SOURCE), "target": tokenizer(target, lowercase=False, zero_digits=False)}
    return replace(made, manifest=manifest, tokenizers=tokenizers)


@pytest.fixture(scope="module")
def task() -> Translation:
    return Translation(bundle_with(GRAMMAR))


@pytest.fixture(scope="module")
def grammar() -> WordGrammar:
    return WordGrammar(GRAMMAR, tokenizer(TARGET, lowercase=False, zero_digits=False), True, 32)


def position(grammar: TextGrammar, words: Sequence[str]) -> int | None:
    """Where a text does not parse; None if it does."""
    fault = grammar.fault(words)
    return None if fault is None else fault.position


class Runner(CopyRunner):
    """The random network that copies, over the vocabulary of these tests."""

    def decoder_step(self, feeds: Any) -> Any:
        assert feeds["token"].max() < SIZE
        outputs = ElmanRunner.decoder_step(self, feeds)
        return {**outputs, "generate_logit": outputs["next_hidden"][0].sum(axis=1) - 1.0}


def answered(task: Translation, seed: int, texts: Sequence[str], **parameters: Any) -> list[list[str]]:
    """The words of the answer to each text, all in one batch."""
    examples = [task.preprocess(text, TranslationParameters(return_attention=True, **parameters)) for text in texts]
    outputs = task.run(Runner(SIZE, seed), examples)
    answers = [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]
    assert all(isinstance(answer, TranslationAnswer) and answer.attention for answer in answers)
    return [answer.attention.target_tokens for answer in answers if answer.attention]


@pytest.mark.parametrize("num_beams", [1, 2, 5])
@pytest.mark.parametrize("limit", [3, 4, 7, 8, 15])
def test_every_answer_parses_and_ends_within_the_limit(
    task: Translation, grammar: WordGrammar, num_beams: int, limit: int
) -> None:
    """Random networks write only what parses, from hostile sources too, with any beams and any room."""
    for seed in range(6):
        for words in answered(task, seed, HOSTILE, num_beams=num_beams, max_new_tokens=limit):
            assert grammar.fault(words) is None, words
            assert len(words) < limit


def test_without_the_constraint_the_same_networks_write_what_does_not_parse(
    task: Translation, grammar: WordGrammar
) -> None:
    """The test above can fail: with `constrained` false most of these answers do not parse."""
    found = [words for seed in range(6) for words in answered(task, seed, HOSTILE, constrained=False, num_beams=1)]
    assert sum(grammar.fault(words) is not None for words in found) > len(found) / 2


@pytest.mark.parametrize("num_beams", [1, 4])
def test_company_changes_nothing(task: Translation, num_beams: int) -> None:
    """Constrained sentences are answered in a batch as alone, and beside sentences without a constraint."""
    for seed in range(3):
        together = answered(task, seed, HOSTILE, num_beams=num_beams, max_new_tokens=9)
        alone = [answered(task, seed, [text], num_beams=num_beams, max_new_tokens=9)[0] for text in HOSTILE]
        assert together == alone
        mixed = [
            task.preprocess(text, TranslationParameters(num_beams=num_beams, max_new_tokens=9, constrained=chosen))
            for text in HOSTILE
            for chosen in (False, True)
        ]
        outputs = task.run(Runner(SIZE, seed), mixed)[1::2]
        assert [task._words(e, o) for e, o in zip(mixed[1::2], outputs, strict=True)] == together


def test_an_answer_that_parses_anyway_stays_as_it_is() -> None:
    """Greedy decoding under a grammar of all texts is decoding without one, score and all."""
    free = Translation(bundle_with("start: WORD*\nWORD: /.+/s"))
    for seed in range(6):
        for text in HOSTILE:
            outputs = []
            for constrained in (False, True):
                chosen = TranslationParameters(num_beams=1, max_new_tokens=30, constrained=constrained)
                (output,) = free.run(Runner(SIZE, seed), [free.preprocess(text, chosen)])
                outputs.append(output)
            if len(outputs[0].tokens) < 30:
                assert outputs[0].tokens == outputs[1].tokens
                assert outputs[0].score == pytest.approx(outputs[1].score, abs=1e-9)


def test_words_are_read_without_joiners_and_strings_come_before_patterns(grammar: WordGrammar) -> None:
    """Keywords are no names; within quotes any word is a piece; a text may miss its end."""
    assert position(grammar, ["SELECT", "me", "WHERE", "cs", "=", "(", "SELECT", "x", "\uffed)"]) is None
    assert position(grammar, ["SELECT", "me", "WHERE", "cs", "=", '"\uffed', "AND", "7", '\uffed"']) is None
    assert position(grammar, ["SELECT", "SELECT"]) == 1
    assert position(grammar, ["SELECT", "me", "WHERE"]) == 3


def test_the_shortest_rest_is_what_a_search_of_all_texts_finds(grammar: WordGrammar) -> None:
    """The fewest words to the end of every stack of up to six words are those of breadth-first search."""
    parser = grammar.parser
    level = [parser.start()]
    for _ in range(6):
        for stack in level:
            open_ones, steps = {stack}, 0
            while not any(parser.choices(one).can_end for one in open_ones):
                open_ones = {after for one in open_ones for after in parser.choices(one).following.values()}
                steps += 1
            assert parser.shortest(stack) == steps
        level = list({after for stack in level for after in parser.choices(stack).following.values()})
    assert grammar.shortest == 2


def test_a_grammar_must_fit_the_vocabulary() -> None:
    """A start that never ends and terminals that nothing matches are refused when the bundle is opened."""
    with pytest.raises(BundleCorrupt, match="none ever ends"):
        Translation(bundle_with('start: "SELECT" start'))
    with pytest.raises(BundleCorrupt, match="none ever ends"):
        Translation(bundle_with('start: "nowhere"'))
    with pytest.raises(GrammarError, match='no token of the target vocabulary matches "nowhere"'):
        WordGrammar('start: "SELECT" | "nowhere"', tokenizer(TARGET, lowercase=False), False, 32)
    assert math.isfinite(
        WordGrammar('start: "SELECT" | "nowhere"', tokenizer(TARGET, lowercase=False), True, 32).shortest
    )
    with pytest.raises(BundleCorrupt, match="its shortest text has 40 tokens, and the limit is 32"):
        Translation(bundle_with("start: " + '"SELECT" ' * 40))


def test_requests_that_cannot_be_answered_are_refused(task: Translation) -> None:
    """A limit below the shortest text, and a constraint without a grammar, are errors of the request."""
    with pytest.raises(InvalidInput, match=r"max_new_tokens is 2, .* has 3 tokens") as refused:
        task.preprocess("show me", TranslationParameters(max_new_tokens=2))
    assert refused.value.field == ("parameters", "max_new_tokens")
    plain = Translation(translation_bundle(("a",), ("b",)))
    with pytest.raises(InvalidInput, match="has no grammar") as refused:
        plain.preprocess("a", TranslationParameters(constrained=True))
    assert refused.value.field == ("parameters", "constrained")
    assert plain.preprocess("a", TranslationParameters(constrained=False)).plan.constraint is None


GRAMMARS = Path(__file__).parents[4] / "training" / "recipes" / "grammars"


@pytest.fixture(scope="module")
def sql() -> TextGrammar:
    return TextGrammar((GRAMMARS / "sql.lark").read_text(encoding="utf-8"))


QUERIES = {
    "SELECT DISTINCT Aalias0.NAME , COUNT( * ) > 0 FROM A AS Aalias0 WHERE Aalias0.NUMBER = 7 ;": None,
    'SELECT A.B FROM A INNER JOIN C ON A.ID = C.ID WHERE ( A.B LIKE "%x y%" OR A.B <> 1 ) AND NOT A.C = "FROM" ;': None,
    "SELECT A.B FROM A WHERE A.C = ( SELECT MIN( D.C ) FROM D ) ORDER BY A.B DESC LIMIT 1 ;": None,
    "SELECT SUM( CASE WHEN A.B IN ( 1 , 2 ) THEN 1 ELSE 0 END ) FROM A GROUP BY A.C ;": None,
    "SELECT A.B FROM WHERE A.C = 1 ;": 3,
    'SELECT A.B FROM A WHERE A.C = "x ;': 10,
    "SELECT A.B FROM A WHERE A.C BETWEEN 1 ;": 8,
    "SELECT A.B FROM A WHERE A.C > ALL ( SELECT D.C FROM D ) ;": None,
}


@pytest.mark.parametrize(("query", "error"), QUERIES.items())
def test_the_grammar_of_sql_reads_queries_and_finds_where_others_break(
    sql: TextGrammar, query: str, error: int | None
) -> None:
    """Queries as the data sets write them parse, unfinished ones do not: the position of the first wrong word is told.

    The second last has no closing quote, so that it breaks at its end.
    """
    words = tokenizer(["x"], lowercase=False, zero_digits=False).words(query)
    assert position(sql, words) == error
