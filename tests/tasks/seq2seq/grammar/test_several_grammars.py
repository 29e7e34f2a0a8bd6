"""Grammars of several kinds, with and without copying: what they let through, and how they fit a vocabulary."""

from __future__ import annotations

import gc
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import BundleCorrupt, InvalidInput
from service.tasks.seq2seq.grammar.parse_stack import ParseStack
from service.tasks.seq2seq.grammar.word_constraint import WordConstraint
from service.tasks.seq2seq.grammar.word_grammar import TextGrammar, WordGrammar
from service.tasks.seq2seq.translation import Translation, TranslationParameters
from tests.tasks.builders import ElmanRunner
from tests.tasks.seq2seq.test_copying import SOURCE, copying_bundle, tokenizer
from training.config.recipe import TokenizerConfig
from training.preprocessing.vocabulary import fit_subwords

ARITHMETIC = """
start: sum
sum: product | sum ("+" | "-") product
product: power | product "*" power
power: atom ["^" power]
atom: NUMBER | NAME | "-" atom | "(" sum ")"
NUMBER: /[0-9]+/
NAME: /[a-z]+/
"""
JSON = """
start: value
value: "{" [member ("," member)*] "}" | "[" [value ("," value)*] "]" | text | NUMBER | "null"
member: text ":" value
text: QUOTE WORD* QUOTE
QUOTE: "'"
NUMBER: /-?[0-9]+/
WORD: /[^']+/
"""
QUERIES = """
start: "SELECT" list "FROM" (NAME | "(" start ")") ["WHERE" list]
list: NAME ("," NAME)*
NAME: /(?!(SELECT|FROM|WHERE)$)\\w+/
"""
VOCABULARIES = {
    ARITHMETIC: ("+", "-", "*", "^", "(", ")", "\uffed)", "7", "me", "cs"),
    JSON: ("{", "}", "[", "]", ",", ":", "'", "\uffed'", "null", "7", "me"),
    QUERIES: ("SELECT", "FROM", "WHERE", ",", "(", ")", "me", "cs"),
}
LANGUAGES = pytest.mark.parametrize("text", VOCABULARIES, ids=["arithmetic", "json", "queries"])
SOURCES = ["who teaches 492 (me) ?", "{ SELECT : ' 1 + x ' }", "日本 ^ ^ 000 ,", "x"]


def words_of(grammar: str) -> TextTokenizer:
    return tokenizer(VOCABULARIES[grammar], lowercase=False, zero_digits=False)


def task_with(grammar: str, target: TextTokenizer, *, copying: bool, **options: Any) -> Translation:
    made = copying_bundle()
    chosen = made.manifest.options.model_copy(update={"grammar": grammar, "copying": copying, **options})
    manifest = made.manifest.model_copy(update={"options": chosen})
    return Translation(replace(made, manifest=manifest, tokenizers={"source": tokenizer(SOURCE), "target": target}))


class Runner(ElmanRunner):
    """The random network, with a gate that depends on its state."""

    def decoder_step(self, feeds: Any) -> Any:
        outputs = super().decoder_step(feeds)
        return {**outputs, "generate_logit": outputs["next_hidden"][0].sum(axis=1)}


def texts_of(task: Translation, runner: Runner, sources: Sequence[str], **parameters: Any) -> list[str]:
    examples = [task.preprocess(source, TranslationParameters(**parameters)) for source in sources]
    outputs = task.run(runner, examples)
    return [task.postprocess(example, output).text for example, output in zip(examples, outputs, strict=True)]


@LANGUAGES
@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_every_text_parses_when_it_is_read_again(text: str, copying: bool, num_beams: int) -> None:
    """Random networks write texts of the grammar, however little room there is, and write others without it."""
    target = words_of(text)
    task, grammar = task_with(text, target, copying=copying), TextGrammar(text)
    shortest = WordGrammar(text, target, copying, 32).shortest
    free = []
    for seed in range(4):
        runner = Runner(target.vocabulary_size, seed)
        for limit in (int(shortest) + 1, 9, 32):
            for found in texts_of(task, runner, SOURCES, num_beams=num_beams, max_new_tokens=limit):
                words = target.words(found)
                assert grammar.fault(words) is None, (found, grammar.fault(words))
                assert len(words) < limit
        free += texts_of(task, runner, SOURCES, num_beams=num_beams, constrained=False)
    assert any(grammar.fault(target.words(found)) for found in free)


@LANGUAGES
def test_exactly_the_words_are_allowed_with_which_a_text_can_end_in_time(text: str) -> None:
    """What masks let through is what a search of all texts of the vocabulary finds, with any room."""
    grammar = WordGrammar(text, words_of(text), False, 32)
    constraint = WordConstraint(grammar, {})
    words = range(EOS + 1, grammar.size)

    def after(stack: ParseStack, token: int) -> ParseStack | None:
        return grammar.after(stack, grammar.kinds[grammar.groups[token]])

    def fewest(stack: ParseStack, limit: int) -> int:
        """Tokens to the end with the end token, or more than the limit."""
        reached = {stack}
        for number in range(1, limit + 1):
            if any(grammar.parser.choices(one).can_end for one in reached):
                return number
            reached = {found for one in reached for token in words if (found := after(one, token)) is not None}
        return limit + 1

    random = np.random.default_rng(0)
    for _ in range(6):
        stack = constraint.start
        for num_left in (7, 6, 5, 4, 3, 2):
            allowed = constraint.allowed(stack, num_left, grammar.size)
            rests = {token: after(stack, token) for token in words}
            expected = {
                token for token, rest in rests.items() if rest is not None and fewest(rest, num_left) < num_left
            }
            expected |= {EOS} if grammar.parser.choices(stack).can_end else set()
            assert set(np.flatnonzero(allowed)) == expected
            token = int(random.choice(sorted(expected)))
            if token == EOS:
                break
            stack = constraint.after(stack, token)


def test_a_word_that_only_the_source_has_can_be_what_no_token_is() -> None:
    """A terminal that no word of the vocabulary matches is let through where a copied word matches it."""
    target = tokenizer(["(", ")", "me"], lowercase=False, zero_digits=False)
    grammar = WordGrammar('start: "(" (NUMBER | NAME) ")"\nNUMBER: /[0-9]+/\nNAME: /[a-z]+/', target, True, 9)
    constraint = WordConstraint(grammar, {grammar.size + 2: "492", grammar.size + 3: "me2"})
    stack = constraint.after(constraint.start, EOS + 1)
    allowed = np.flatnonzero(constraint.allowed(stack, 9, grammar.size + 6))
    assert allowed.tolist() == [EOS + 3, grammar.size + 2]
    after = constraint.after(stack, grammar.size + 2)
    assert np.flatnonzero(constraint.allowed(after, 9, grammar.size + 6)).tolist() == [EOS + 2]


@pytest.mark.parametrize("num_beams", [1, 4])
def test_sentences_that_join_at_any_step_are_answered_as_alone(num_beams: int) -> None:
    """Constrained and other sentences share a batch that they join one by one, and none changes another's answer."""
    target = words_of(ARITHMETIC)
    task, runner = task_with(ARITHMETIC, target, copying=True), Runner(target.vocabulary_size, 3)
    asked = [
        task.preprocess(source, TranslationParameters(num_beams=num_beams, constrained=constrained, max_new_tokens=12))
        for source in SOURCES
        for constrained in (True, False)
    ]
    batch, found, waiting = task.batch(), {}, list(asked)
    while waiting or not batch.is_idle:
        if waiting:
            batch.join([waiting.pop(0)])
        for outcome in batch.advance(runner):
            assert outcome.product is not None
            found[outcome.request] = outcome.product.tokens
    alone = [task.run(runner, [example])[0] for example in asked]
    assert [found[example] for example in asked] == [getattr(hypothesis, "tokens", None) for hypothesis in alone]


def test_the_shortest_text_gives_the_least_room() -> None:
    """Without a limit in the request a constrained answer has room for the shortest text; a lower limit is refused."""
    text = "start: " + '"7" ' * 20
    task = task_with(text, words_of(ARITHMETIC), copying=True, tokens_beyond_source=1)
    assert task.preprocess("x", TranslationParameters()).plan.max_steps == 21
    assert task.preprocess("x", TranslationParameters(constrained=False)).plan.max_steps == 3
    with pytest.raises(InvalidInput, match=r"max_new_tokens is 20, .* has 21 tokens"):
        task.preprocess("x", TranslationParameters(max_new_tokens=20))
    with pytest.raises(InvalidInput, match="the text is empty"):
        task.preprocess("", TranslationParameters())


def test_a_grammar_needs_a_vocabulary_of_words() -> None:
    """Parts of words are no terminals; and a manifest says which grammar is at fault."""
    subwords = fit_subwords(["some words here"] * 3, TokenizerConfig(unit="subword", vocabulary_size=64))
    with pytest.raises(BundleCorrupt, match=r"manifest.json: options.grammar: .* parts of words"):
        task_with(ARITHMETIC, subwords, copying=False)
    with pytest.raises(BundleCorrupt, match='no token of the target vocabulary matches "nowhere", NUMBER'):
        task_with('start: "(" | "nowhere" NUMBER\nNUMBER: /[a-f]{9}/', words_of(ARITHMETIC), copying=False)


def test_a_fault_says_where_and_what_was_expected() -> None:
    """The first wrong word is told with its position and what could have come, or that the text may not end."""
    grammar = TextGrammar(ARITHMETIC)
    assert str(grammar.fault(["7", "+", "*"])) == 'word 3: \'*\' cannot come here; expected "(", "-", NAME, NUMBER'
    assert str(grammar.fault(["(", "7"])).startswith("word 3: the end cannot come here; expected ")
    assert str(grammar.fault(["7", ")"])).endswith("the end")


def test_the_example_of_the_documents_parses_what_it_says() -> None:
    """The grammar in the documents is a usable one."""
    page = Path(__file__).parents[4] / "training" / "docs" / "recipes.md"
    found = re.search(r"^```\n(start: .*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    words = tokenizer([], lowercase=False, zero_digits=False).words("find . -name 'a b' | wc -l")
    assert TextGrammar(found[1]).fault(words) is None


def test_stacks_that_requests_share_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers stay the same when the stacks of earlier requests are dropped, which takes no collection of garbage."""
    target = words_of(ARITHMETIC)
    task, runner = task_with(ARITHMETIC, target, copying=True), Runner(target.vocabulary_size, 1)
    before = texts_of(task, runner, SOURCES)
    monkeypatch.setattr("service.tasks.seq2seq.grammar.parse_stack.MAX_SHARED_STACKS", 3)
    texts_of(task, runner, SOURCES)
    gc.collect()
    gc.disable()
    try:
        counts = []
        for _ in range(5):
            assert [texts_of(task, runner, [source])[0] for source in SOURCES] == before
            counts.append(sum(isinstance(held, ParseStack) for held in gc.get_objects()))
    finally:
        gc.enable()
    # The empty stack of each request holds itself.
    assert counts[-1] <= counts[0] + 4 * len(SOURCES)
