"""Words and marks of code: cut apart, and joined again without loss."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import UNK, TextTokenizer
from service.bundle.word_joiners import JOINER as J
from service.bundle.word_joiners import join_words
from training.config.recipe import ConfigFault, TokenizerConfig
from training.data.records import SentencePair
from training.preprocessing.vocabulary import fit_text_words, word_tokenizer
from training.tasks.translation import translation_vocabulary

AS_WRITTEN = TokenizerConfig(unit="word", cut="code", lowercase=False, zero_digits=False)
READ = AS_WRITTEN.model_copy(update={"lowercase": True, "zero_digits": True})
CUTTING = TextTokenizer(word_tokenizer([], AS_WRITTEN))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('LIKE "%MDE%" ;', ["LIKE", '"', f"{J}%{J}", "MDE", f"{J}%", f'{J}"', ";"]),
        ("MIN( a.B )", ["MIN", f"{J}(", "a.B", ")"]),
        ("find ./x -name '*.txt'", ["find", "./x", "-name", "'", f"{J}*{J}", ".txt", f"{J}'"]),
        ("in /var/.", ["in", "/var", f"{J}/", f"{J}."]),
        (". ..", [".", ".", f"{J}."]),
        ("été日本", ["été日本"]),
    ],
)
def test_words_end_at_marks(text: str, words: list[str]) -> None:
    """Paths, options and columns are words; quotes, brackets, operators and final stops are marks with joiners."""
    assert CUTTING.words(text) == words


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="aB1é./-_ \"'%(*$\u0301日", max_size=30))
def test_a_text_is_what_its_words_join_to(text: str) -> None:
    """For any text, the joined words are the text in NFC with single blanks."""
    tokenizer = fit_text_words([text], AS_WRITTEN)
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    assert join_words(tokenizer.words(text)).text == normal
    assert tokenizer.decode(tokenizer.encode(text)) == normal
    assert UNK not in tokenizer.encode(text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_what_is_read_and_what_is_copied_are_cut_alike(text: str) -> None:
    """Lower case and digits as 0 change no cut, so token n as read is word n as written."""
    reading = TextTokenizer(word_tokenizer([], READ))
    assert len(reading.encode(text)) == len(CUTTING.words(text))


def test_each_side_has_its_words_and_the_target_keeps_them_as_written() -> None:
    """The source is read without case and digits, the target is not, and rare words are unknown on both sides."""
    pairs = [SentencePair("Who has EECS 492 ?", 'N = "EECS" 492'), SentencePair("who has it ?", "N = it")]
    fitted = translation_vocabulary(READ.model_copy(update={"min_count": 2}), pairs)
    source, target = fitted.tokenizers["source"], fitted.tokenizers["target"]
    assert [source.token(n) for n in range(4, source.vocabulary_size)] == ["who", "has", "?"]
    assert [target.token(n) for n in range(4, target.vocabulary_size)] == ["N", "="]


def test_words_that_could_not_be_joined_again_are_refused() -> None:
    """A cut by the rules of a language has no inverse, and the error names the cuts that have one."""
    with pytest.raises(ConfigFault, match=r'cut "english" cannot be undone.*"whitespace".*"code".*"subword"'):
        translation_vocabulary(TokenizerConfig(unit="word", cut="english"), [SentencePair("a", "b")])
