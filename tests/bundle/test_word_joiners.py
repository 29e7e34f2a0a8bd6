"""Joining words and marks to the text that they were cut from."""

from __future__ import annotations

from service.bundle.word_joiners import JOINER as J
from service.bundle.word_joiners import join_words


def test_marks_go_back_to_where_they_touched() -> None:
    """A joiner on either side leaves out the blank; every place is where the word stands in the text."""
    tokens = ["LIKE", '"', f"{J}%{J}", "MDE", f"{J}%", f'{J}"', ";", f"${J}", "x"]
    text, places = join_words(tokens)
    assert text == 'LIKE "%MDE%" ; $x'
    assert [text[place.start : place.end] for place in places] == [token.strip(J) for token in tokens]


def test_a_joiner_at_an_end_joins_nothing() -> None:
    """A text that begins or ends with a joiner has no blank there, and no tokens are an empty text."""
    assert join_words([f"{J}(", f"{J}a", f"){J}"]).text == "(a )"
    assert join_words([]).text == ""
