"""CoNLL-U: columns, text, and words that hold white space."""

from __future__ import annotations

from typing import Any

import pytest

from service.tasks.parsing.conllu import conllu


def token(text: str, start: int | None = None, head: int | None = None, **more: Any) -> dict[str, Any]:
    end = None if start is None else start + len(text)
    return {"text": text, "tag": "X", "head": head, "relation": "dep", "start": start, "end": end} | more


def test_a_sentence_has_ten_columns_and_its_text() -> None:
    """Heads count from 1 and the root is 0; words that touch have `SpaceAfter=No`."""
    tokens = [token("Ada", 0, 1, tag="PROPN", features="Number=Sing"), token("sleeps", 4, relation="root")]
    assert conllu([*tokens, token(".", 10, 1)], "7") == (
        "# sent_id = 7\n"
        "# text = Ada sleeps.\n"
        "1\tAda\t_\tPROPN\t_\tNumber=Sing\t2\tdep\t_\t_\n"
        "2\tsleeps\t_\tX\t_\t_\t0\troot\t_\tSpaceAfter=No\n"
        "3\t.\t_\tX\t_\t_\t2\tdep\t_\t_\n"
        "\n"
    )


def test_lemmas_are_the_third_column() -> None:
    """White space in one is a blank, as in a form."""
    lines = conllu([token("went", lemma="go"), token("a b", lemma="a\tb")]).splitlines()
    assert [line.split("\t")[1:3] for line in lines[1:3]] == [["went", "go"], ["a b", "a b"]]


def test_a_tagged_sentence_has_no_heads() -> None:
    tagged = [{"text": "Hi", "tag": "INTJ", "start": None, "end": None}]
    assert conllu(tagged) == "# text = Hi\n1\tHi\t_\tINTJ\t_\t_\t_\t_\t_\t_\n\n"


@pytest.mark.parametrize("word", ["a\tb", "a\nb", "a\r\nb", "a\u2028b", "a\x85b", "\ta b\n", "a\x0bb"])
def test_white_space_in_a_word_breaks_no_line(word: str) -> None:
    """A word of a list may hold tabs and line breaks; in the file it has single blanks, which the format allows."""
    lines = conllu([token(word), token("c", relation="a b")]).splitlines()
    assert lines == ["# text = a b c", "1\ta b\t_\tX\t_\t_\t0\tdep\t_\t_", "2\tc\t_\tX\t_\t_\t0\ta_b\t_\t_", ""]


def test_the_text_is_what_the_words_say() -> None:
    """More white space between words becomes one blank, so that text and words agree as the format demands."""
    assert conllu([token("a", 0), token("b", 4), token("!", 5)]).startswith("# text = a b!\n")
