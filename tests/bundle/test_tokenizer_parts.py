"""Texts are encoded part by part, with a cache: ids and places are those that the whole text would have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer

_WORDS = ("word", "can", "n't", "'s", "é", "0", ".", "ss", "σ", "i̇", "<", ">")
_PARTS = st.sampled_from(
    ["word", "Word's", "can't", "12.5", "e\u0301", "\u0301", "É", "İ", "ΣΑΣ", "\n", "\t", "\u00a0", "\u2003", "\x1c",
     "\x85", "\u2028", "\u200b", "<unk>", "<pad>", "...", "𝒳", " ", "  ", "www.a.b", "ﬁ"]
)  # fmt: skip


def _tokenizer(*, cuts: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer) -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate((*SPECIAL_TOKENS, *_WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = cuts
    return tokenizer


def _words() -> Tokenizer:
    cuts: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(r"\w+(?=n't)|n't|'s|\w+|\S"), "isolated"),
    ]
    steps: list[normalizers.Normalizer] = [
        normalizers.NFC(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[0-9]"), "0"),
    ]
    return _tokenizer(cuts=pre_tokenizers.Sequence(cuts), normalizer=normalizers.Sequence(steps))


def _across_blanks() -> Tokenizer:
    """Takes two words with a blank between them for one."""
    return _tokenizer(
        cuts=pre_tokenizers.Split(Regex(r"word word|\S+"), "removed", invert=True), normalizer=normalizers.NFC()
    )


def _without_blanks() -> Tokenizer:
    """Takes out the blanks before it cuts."""
    return _tokenizer(cuts=pre_tokenizers.WhitespaceSplit(), normalizer=normalizers.Replace(" ", ""))


def _with_special_blanks() -> Tokenizer:
    """Has a token with a blank in it."""
    tokenizer = _words()
    tokenizer.add_special_tokens(["word word"])
    return tokenizer


_ALL = [_words(), _across_blanks(), _without_blanks(), _with_special_blanks()]
_PAIRS = [(tokenizer, TextTokenizer(tokenizer)) for tokenizer in _ALL]


@pytest.mark.parametrize(("plain", "own"), _PAIRS)
@given(st.lists(_PARTS, max_size=12).map("".join))
def test_ids_and_words_are_those_of_the_whole_text(plain: Tokenizer, own: TextTokenizer, text: str) -> None:
    """Whatever blanks, marks and special tokens are in a text, at the first time and from the cache."""
    cuts = plain.pre_tokenizer.pre_tokenize_str(text)
    places = [(text[start:end], start, end) for _, (start, end) in cuts if text[start:end].strip()]
    for _ in range(2):
        assert own.encode(text) == plain.encode(text, add_special_tokens=False).ids
        assert [tuple(piece) for piece in own.pieces(text)] == places


def test_a_text_of_known_words_is_not_tokenized_again() -> None:
    """The second text is made of parts of the first, and the library is not asked."""
    own = TextTokenizer(_words())
    own.encode("Word's can't")
    own.__dict__["_encode"] = None  # would raise
    assert own.encode("can't Word's Word's") == own.encode("can't") + 2 * own.encode("Word's")
