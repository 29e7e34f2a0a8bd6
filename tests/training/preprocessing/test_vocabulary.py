"""Vocabularies: special tokens, words, characters and subwords, all fitted on the training records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import SPECIAL_TOKENS, UNK, TextTokenizer
from training.config.recipe import TokenizerConfig
from training.data.records import LabelledText, Passage, SentencePair, TaggedSentence
from training.preprocessing.vocabulary import fit_characters, fit_subwords, fit_words, word_tokenizer
from training.preprocessing.word_vectors import WordVectors
from training.tasks.classification import classification_vocabulary
from training.tasks.generation import generation_vocabulary
from training.tasks.tagging import tagging_vocabulary
from training.tasks.translation import translation_vocabulary

ENGLISH = TextTokenizer(word_tokenizer([], TokenizerConfig()))
SENTENCES = [["the", "The", "cat"], ["the", "dog", "1996"]]


def tokens_of(tokenizer: TextTokenizer) -> list[str]:
    return [tokenizer.token(number) for number in range(tokenizer.vocabulary_size)]


def cut(text: str) -> list[str]:
    return [piece.text for piece in ENGLISH.pieces(text)]


@pytest.mark.parametrize(
    "tokenizer",
    [
        fit_words(SENTENCES, TokenizerConfig()),
        fit_characters(["abc"]),
        fit_subwords(["abc abd"] * 3, TokenizerConfig(unit="subword")),
    ],
    ids=["words", "characters", "subwords"],
)
def test_special_tokens_come_first(tokenizer: TextTokenizer) -> None:
    """Ids 0 to 3 are padding, unknown, start and end in every kind of tokenizer, also after loading."""
    assert tokens_of(tokenizer)[:4] == list(SPECIAL_TOKENS)
    assert tokenizer.vocabulary_size > len(SPECIAL_TOKENS)


def test_words_are_counted_after_normalising() -> None:
    """Words are sorted by frequency after normalisation, which merges spellings and maps all digits to one."""
    assert tokens_of(fit_words(SENTENCES, TokenizerConfig()))[4:] == ["the", "cat", "dog", "0000"]
    exact = TokenizerConfig(lowercase=False, zero_digits=False)
    assert tokens_of(fit_words(SENTENCES, exact))[4:] == ["the", "The", "cat", "dog", "1996"]


def test_rare_words_are_unknown() -> None:
    """Words with a count below `min_count` are unknown."""
    tokenizer = fit_words(SENTENCES, TokenizerConfig(min_count=2))
    assert tokens_of(tokenizer)[4:] == ["the"]
    assert tokenizer.encode_words(["THE", "cat"]) == [4, UNK]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_a_word_that_spells_a_special_token_is_unknown(special: str) -> None:
    """A word spelled like a special token is unknown, even if train contains it."""
    tokenizer = fit_words([[special, "a"]], TokenizerConfig())
    assert tokens_of(tokenizer) == [*SPECIAL_TOKENS, "a"]
    assert tokenizer.encode_words([special, "a"]) == [UNK, 4]


def test_characters_cover_line_ends() -> None:
    """Line ends, tabs and characters beyond 16 bits are encoded and decoded like any other character."""
    text = "To be,\r\n\tor ñot 👍\n\n"
    tokenizer = fit_characters([text])
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert UNK not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("é") == [UNK]


TEXTS = ["naïve café, 12 Straßen; 你好 👍🏽!", "Ḽơᶉëᶆ ȋṕšᶙṁ — don't", "العربية עברית"]


def test_subwords_give_the_text_back() -> None:
    """Byte-pair encoding of text in several scripts round-trips."""
    tokenizer = fit_subwords(TEXTS * 5, TokenizerConfig(unit="subword", vocabulary_size=300))
    for text in [*TEXTS, " ".join(TEXTS)]:
        ids = tokenizer.encode(text)
        assert UNK not in ids
        assert tokenizer.decode(ids) == text


def test_a_vocabulary_has_at_most_the_size_asked_for() -> None:
    """The vocabulary size includes the special tokens."""
    texts = [" ".join(words) for words in SENTENCES] * 20
    assert fit_subwords(texts, TokenizerConfig(unit="subword", vocabulary_size=64)).vocabulary_size <= 64


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_pieces_lie_where_they_say(text: str) -> None:
    """For any text, tokens are text[start:end] in order, and only white space lies between them."""
    rest, end = "", 0
    for piece in ENGLISH.pieces(text):
        assert piece.text == text[piece.start : piece.end]
        rest, end = rest + text[end : piece.start], piece.end
    assert not (rest + text[end:]).strip()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I can't, won't; it's", ["I", "ca", "n't", ",", "wo", "n't", ";", "it", "'s"]),
        ("they'll've DON'T don’t", ["they", "'ll", "'ve", "DO", "N'T", "do", "n’t"]),
        ("rock'n'roll O'Neill's", ["rock", "'", "n", "'", "roll", "O", "'", "Neill", "'s"]),
        ("See https://x.org/a?b=1. (www.y.de)", ["See", "https://x.org/a?b=1", ".", "(", "www.y.de", ")"]),
        ("Mail a.b+c@d-e.co.uk!", ["Mail", "a.b+c@d-e.co.uk", "!"]),
        ("The U.S. paid 1,000.50 on 11/28/2000 at 10:30.", None),
        ("the 2nd of Mr. Smith's 3 cats", ["the", "2nd", "of", "Mr.", "Smith", "'s", "3", "cats"]),
        ("wait... what?!! -- no", ["wait", "...", "what", "?", "!!", "--", "no"]),
        ("ok 👍👍 snake_case", ["ok", "👍👍", "snake_case"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
    ],
)
def test_english_is_cut_like_a_treebank(text: str, pieces: list[str] | None) -> None:
    """Clitics, addresses, abbreviations, numbers, dates, runs of signs and combining marks are tokenised."""
    expected = ["The", "U.S.", "paid", "1,000.50", "on", "11/28/2000", "at", "10:30", "."]
    assert cut(text) == (pieces or expected)


def test_looking_ahead_is_bounded() -> None:
    """An address has at most 64 characters before its @, which bounds backtracking on long runs of signs."""
    longest = "a-" * 32 + "@b.de"
    assert cut(longest) == [longest]
    assert len(cut("a-" + longest)) > 1
    assert cut("a" * 19 + "dn't") == ["a" * 19 + "d", "n't"]
    assert cut("a" * 30 + "n't") == ["a" * 30 + "n", "'", "t"]


def test_white_space_alone_cuts_if_the_recipe_says_so() -> None:
    """`cut = "whitespace"` keeps punctuation attached to its word."""
    plain = TextTokenizer(word_tokenizer([], TokenizerConfig(cut="whitespace")))
    assert [piece.text for piece in plain.pieces("I can't, no.")] == ["I", "can't,", "no."]


def test_vectors_land_on_the_rows_of_their_words() -> None:
    """Row = id; training words without a vector are NaN, and frequent words of the vectors join the vocabulary."""
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    vectors = WordVectors(("dog", "bird", "the", "emu"), rows)
    records = [TaggedSentence(("the", "dog", "barks"), ("D", "N", "V"))]
    fitted = tagging_vocabulary(TokenizerConfig(max_vectors=2), records, vectors)
    words = fitted.tokenizers["words"]
    assert tokens_of(words)[4:] == ["the", "dog", "barks", "bird"]
    assert fitted.vectors is not None
    assert fitted.vectors.shape == (8, 2)
    assert np.isnan(fitted.vectors[:4]).all()
    for word, row in (("the", 2), ("dog", 0), ("bird", 1)):
        np.testing.assert_array_equal(fitted.vectors[words.encode_words([word])[0]], rows[row])
    assert np.isnan(fitted.vectors[words.encode_words(["barks"])[0]]).all()


def test_tagging_fits_words_characters_and_labels() -> None:
    """Labels are sorted, and characters keep the case that words lose."""
    records = [TaggedSentence(("The", "cat"), ("DET", "NOUN")), TaggedSentence(("sees",), ("AUX",))]
    fitted = tagging_vocabulary(TokenizerConfig(), records)
    assert fitted.labels == ("AUX", "DET", "NOUN")
    assert fitted.tokenizers["words"].encode_words(["THE"]) != [UNK]
    assert fitted.tokenizers["characters"].encode_characters("Tht", 10) == [
        fitted.tokenizers["characters"].encode_characters(letter, 1)[0] for letter in "Tht"
    ]
    assert fitted.tokenizers["characters"].encode_characters("C", 10) == [UNK]


@pytest.mark.parametrize("unit", ["word", "subword", "character"])
def test_texts_are_fitted_in_every_unit(unit: Any) -> None:
    """A classifier may read words, subwords or characters; its labels are those of the records."""
    records = [LabelledText("cats meow", "cat"), LabelledText("cats don't bark", "dog")]
    fitted = classification_vocabulary(TokenizerConfig(unit=unit), records)
    assert fitted.labels == ("cat", "dog")
    assert UNK not in fitted.tokenizers["text"].encode("cats bark")


def test_both_languages_share_one_tokenizer() -> None:
    """A translator's two roles share one tokenizer object, which is stored once."""
    fitted = translation_vocabulary(TokenizerConfig(unit="subword"), [SentencePair("a b", "c d")] * 3)
    assert fitted.tokenizers["source"] is fitted.tokenizers["target"]
    assert UNK not in fitted.tokenizers["source"].encode("a b c d")


def test_only_the_records_given_are_fitted() -> None:
    """Characters and subwords that occur in no training record are unknown."""
    units: tuple[Any, ...] = ("character", "subword")
    for unit in units:
        tokenizer = generation_vocabulary(TokenizerConfig(unit=unit), [Passage("abab abab")]).tokenizers["text"]
        assert UNK in tokenizer.encode("xyz")
        assert tokenizer.decode(tokenizer.encode("xyz")).strip() == ""


def test_a_fitted_tokenizer_survives_the_disk(tmp_path: Path) -> None:
    """A saved and loaded tokenizer gives the same tokens and ids."""
    for number, tokenizer in enumerate((ENGLISH, fit_subwords(TEXTS * 5, TokenizerConfig(unit="subword")))):
        tokenizer.save(tmp_path / f"{number}.json")
        loaded = TextTokenizer.load(tmp_path / f"{number}.json")
        for text in TEXTS:
            assert loaded.encode(text) == tokenizer.encode(text)
            assert loaded.pieces(text) == tokenizer.pieces(text)
