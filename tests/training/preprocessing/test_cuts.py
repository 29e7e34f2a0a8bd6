"""Word tokenisation of French and Portuguese."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import TextTokenizer
from training.config.recipe import TokenizerConfig
from training.preprocessing.vocabulary import word_tokenizer

Cut = Literal["french", "portuguese"]
TOKENIZERS: dict[Cut, TextTokenizer] = {
    "french": TextTokenizer(word_tokenizer([], TokenizerConfig(cut="french"))),
    "portuguese": TextTokenizer(word_tokenizer([], TokenizerConfig(cut="portuguese"))),
}


@pytest.mark.parametrize(
    ("cut", "text", "pieces"),
    [
        ("french", "L'usine d’aujourd'hui, qu'elle", ["L'", "usine", "d’", "aujourd'hui", ",", "qu'", "elle"]),
        ("french", "Y a-t-il 1500 places?", ["Y", "a", "-t-il", "1500", "places", "?"]),
        ("french", "vont-ils à l'Isle-sur-le-Doubs", ["vont", "-ils", "à", "l'", "Isle-sur-le-Doubs"]),
        ("french", "celui-ci, lui-même (M. X)", ["celui-ci", ",", "lui-même", "(", "M.", "X", ")"]),
        ("portuguese", "segunda-feira, 1.000 carros", ["segunda-feira", ",", "1.000", "carros"]),
        ("portuguese", "Encontra-se o Sr. Silva", ["Encontra", "-", "se", "o", "Sr.", "Silva"]),
        ("portuguese", "veja http://a.pt/b. Não?!", ["veja", "http://a.pt/b", ".", "Não", "?", "!"]),
    ],
)
def test_words_end_where_a_treebank_ends_them(cut: Cut, text: str, pieces: list[str]) -> None:
    """Elision, hyphenated pronouns, compounds, abbreviations, numbers and addresses are split as in a treebank."""
    assert [piece.text for piece in TOKENIZERS[cut].pieces(text)] == pieces


@pytest.mark.parametrize("cut", list(TOKENIZERS))
@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet="aàlt-'’. @:/1M", max_size=40))
def test_nothing_but_white_space_is_lost(cut: Cut, text: str) -> None:
    """For any text, tokens are text[start:end] in order, and only white space lies between them."""
    rest, end = "", 0
    for piece in TOKENIZERS[cut].pieces(text):
        assert piece.text == text[piece.start : piece.end]
        rest, end = rest + text[end : piece.start], piece.end
    assert not (rest + text[end:]).strip()
