"""Scores from raw text by the rules of CoNLL 2018: alignment of words, F1, and the cut by rules beside."""

from __future__ import annotations

import pytest

from tests.tasks.builders import word_tokenizer
from training.data.readers.treebanks.raw_text import raw_text
from training.data.records import ParsedSentence, Surface, SurfaceToken
from training.evaluation.parsing.raw_text_cuts import parts_within, rule_cut, treebank_cut
from training.evaluation.parsing.raw_text_scores import ROOT, Cut, RawWord, align_words, joined, raw_text_scores


def words_of(*places: tuple[int, int, str], multiword: tuple[int, ...] = ()) -> list[RawWord]:
    """Words that are all right in tag, head and relation."""
    return [
        RawWord(start, end, number in multiword, form, "X", "_", form, ROOT if number == 0 else 0, "dep")
        for number, (start, end, form) in enumerate(places)
    ]


def cut_of(words: list[RawWord], *sentences: tuple[int, int]) -> Cut:
    return Cut(list(dict.fromkeys((word.start, word.end) for word in words)), list(sentences), words)


def test_the_right_cut_has_full_scores() -> None:
    """Whatever its multiword tokens are."""
    gold = cut_of(words_of((0, 2, "de"), (0, 2, "le"), (3, 5, "ab"), multiword=(0, 1)), (0, 5))
    assert set(raw_text_scores(gold, gold).values()) == {100.0}


def test_f1_counts_both_sides() -> None:
    """Two of three gold tokens are among four: 2 * 2 / 7; the sentence is one character short."""
    gold = cut_of(words_of((0, 1, "a"), (2, 4, "bc"), (5, 6, "d")), (0, 6))
    found = cut_of(words_of((0, 1, "a"), (2, 3, "b"), (3, 4, "c"), (5, 6, "d")), (0, 4), (5, 6))
    scores = raw_text_scores(gold, found)
    assert scores["tokens"] == scores["words"] == scores["upos"] == pytest.approx(400 / 7)
    assert scores["sentences"] == 0.0


def test_words_within_multiword_tokens_are_aligned_by_form() -> None:
    """`do n't` as two tokens is aligned with the words of `don't`; a wrong expansion loses its wrong words alone."""
    gold = words_of((0, 5, "do"), (0, 5, "n't"), (6, 8, "go"), multiword=(0, 1))
    tokens = words_of((0, 2, "do"), (2, 5, "n't"), (6, 8, "go"))
    assert align_words(gold, tokens) == [(0, 0), (1, 1), (2, 2)]
    assert align_words(tokens, gold) == [(0, 0), (1, 1), (2, 2)]
    other = words_of((0, 5, "Do"), (0, 5, "not"), (0, 5, "n't"), (6, 8, "go"), multiword=(0, 1, 2))
    assert align_words(gold, other) == [(0, 0), (1, 2), (2, 3)]
    whole = words_of((0, 5, "don't"), (6, 8, "go"))
    assert align_words(gold, whole) == [(2, 1)]


def test_heads_are_right_if_they_are_aligned() -> None:
    """The head may have another index; a head that is not aligned is wrong, and so is a root for a word."""
    gold = cut_of(words_of((0, 1, "a"), (2, 4, "bc"), (5, 6, "d")), (0, 6))
    shifted = [RawWord(0, 1, False, "a", "X", "_", "a", ROOT, "dep"), *words_of((2, 3, "b"), (3, 4, "c"))]
    shifted.append(RawWord(5, 6, False, "d", "Y", "_", "e", 0, "dep:sub"))
    scores = raw_text_scores(gold, cut_of(shifted, (0, 6)))
    assert scores["uas"] == scores["las"] == pytest.approx(400 / 7)
    assert scores["upos"] == scores["lemmas"] == pytest.approx(200 / 7)
    wrong = [shifted[0], *shifted[1:3], shifted[3]._replace(head=1)]
    assert raw_text_scores(gold, cut_of(wrong, (0, 6)))["uas"] == pytest.approx(200 / 7)


def test_lemmas_that_the_treebank_lacks_count_as_right() -> None:
    """As in the shared task."""
    gold = cut_of([word._replace(lemma="_") for word in words_of((0, 1, "a"))], (0, 1))
    assert raw_text_scores(gold, cut_of(words_of((0, 1, "a")), (0, 1)))["lemmas"] == 100.0


def sentence(text: str, *tokens: tuple[int, int, int], words: tuple[str, ...], new: bool = False) -> ParsedSentence:
    size = len(words)
    surface = Surface(text, tuple(SurfaceToken(*token) for token in tokens), new)
    return ParsedSentence(words, ("X",) * size, tuple(range(size)), ("dep",) * size, ("_",) * size, (), surface)


TREEBANK = [
    sentence("Du b.", (0, 2, 2), (3, 4, 1), (4, 5, 1), words=("De", "le", "b", ".")),
    sentence("C d", (0, 1, 1), (2, 3, 1), words=("C", "d")),
    sentence("e", (0, 1, 1), words=("e",), new=True),
]


def test_the_cut_of_a_treebank_counts_heads_through_the_text() -> None:
    """Heads are indices into all words; words of a multiword token have its place."""
    gold = treebank_cut(TREEBANK, raw_text(TREEBANK, "it"))
    assert gold.sentences == [(0, 5), (6, 9), (11, 12)]
    assert gold.tokens[0] == (0, 2)
    assert [word.head for word in gold.words] == [ROOT, 0, 1, 2, ROOT, 4, ROOT]
    assert [(word.start, word.is_multiword) for word in gold.words[:3]] == [(0, True), (0, True), (3, False)]
    assert [[word.form for word in words] for words in gold.words_of_sentences()] == [
        ["De", "le", "b", "."],
        ["C", "d"],
        ["e"],
    ]


def test_rules_cut_at_marks_and_ends_of_lines() -> None:
    """A sentence ends at . ! ? before a capital, or with its line; abbreviations are cut wrongly, decimals are not."""
    text = 'Hi there. He said "no!" Then 3.5 of Dr. Who?! and more\nA title'
    found = rule_cut(text, word_tokenizer(["a"]))
    assert [text[start:end] for start, end in found.sentences] == [
        "Hi there.",
        'He said "no!"',
        "Then 3.5 of Dr.",
        "Who?! and more",
        "A title",
    ]


def test_texts_are_sent_in_parts_between_sentences() -> None:
    """As long as they may be; a sentence beyond the limit is a part of its own."""
    raw = raw_text(TREEBANK, "it")
    assert list(parts_within(raw, 9)) == [(0, "Du b. C d"), (11, "e")]
    assert list(parts_within(raw, 1)) == [(0, "Du b."), (6, "C d"), (11, "e")]
    assert list(parts_within(raw, 100)) == [(0, raw.text)]


def test_parts_are_joined() -> None:
    """Heads count on, roots stay roots."""
    part = cut_of(words_of((0, 1, "a"), (2, 3, "b")), (0, 3))
    assert [word.head for word in joined([part, part]).words] == [ROOT, 0, ROOT, 2]
