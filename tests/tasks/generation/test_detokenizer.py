"""Incremental detokenization: no partial characters, and stop strings are found across tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import EOS, TextTokenizer
from service.tasks.generation.detokenizer import START, Detokenizer, TextPosition
from tests.tasks.builders import byte_tokenizer, character_tokenizer, word_tokenizer

BYTES = byte_tokenizer()


def after(tokenizer: TextTokenizer, prompt: str, *stop: str) -> Detokenizer:
    """A detokenizer that starts after a prompt."""
    return Detokenizer(tokenizer, START.after_prompt(tokenizer.encode(prompt)), stop)


def pieces_of(stream: Detokenizer, ids: list[int]) -> list[str]:
    pieces = []
    for token_id in ids:
        pieces.append(stream.append(token_id))
        if stream.stopped:
            break
    return [*pieces, stream.flush()]


@settings(deadline=None)
@given(prompt=st.text(min_size=1), text=st.text())
def test_bytes_come_out_as_whole_characters(prompt: str, text: str) -> None:
    """Text split into byte tokens is reassembled, and no chunk contains a partial character."""
    stream = after(BYTES, prompt)
    pieces = pieces_of(stream, BYTES.encode(text))
    assert "".join(pieces) == stream.text == text
    assert all("\ufffd" not in piece for piece in pieces if "\ufffd" not in text)


def test_a_character_is_released_with_its_last_byte() -> None:
    assert pieces_of(Detokenizer(BYTES, START, []), BYTES.encode("a\u20acb")) == ["a", "", "", "\u20ac", "b", ""]


def test_a_character_that_never_becomes_whole_ends_as_replacement_signs() -> None:
    stream = Detokenizer(BYTES, START, [])
    pieces = pieces_of(stream, BYTES.encode("\u20ac")[:2])
    assert pieces == ["", "", "\ufffd"]
    assert stream.text == "\ufffd"


def test_bytes_that_form_no_character_are_let_go() -> None:
    """Bytes that never form a character are emitted as replacement characters instead of being buffered forever."""
    stream = Detokenizer(BYTES, START, [])
    pieces = pieces_of(stream, BYTES.encode("\u20ac")[1:2] * 20)
    assert sum(piece != "" for piece in pieces) >= 2
    assert set(stream.text) == {"\ufffd"}


def test_spaces_between_words_and_after_the_prompt_are_kept() -> None:
    words = word_tokenizer(["to", "be", "or"])
    stream = after(words, "to be")
    assert pieces_of(stream, words.encode("or to")) == [" or", " to", ""]


@pytest.mark.parametrize(
    ("tokenizer", "text", "stop", "expected"),
    [
        (character_tokenizer("abc"), "aabcab", ["abc"], "aabc"),
        (character_tokenizer("abc"), "aabcab", ["c", "abc"], "aabc"),
        (character_tokenizer("abc"), "aabcab", ["b", "abc"], "aab"),
        (character_tokenizer("abc"), "aabcab", ["cb"], "aabcab"),
        (character_tokenizer("abc"), "aaaa", ["aa"], "aa"),
        (word_tokenizer(["one", "two", "three"]), "two one three", ["on"], "two on"),
        (word_tokenizer(["one", "two", "three"]), "two one three", ["o on"], "two on"),
        (BYTES, "x\u20acy\u20acz", ["y\u20ac"], "x\u20acy\u20ac"),
    ],
)
def test_text_ends_with_the_first_stop_string(
    tokenizer: TextTokenizer, text: str, stop: list[str], expected: str
) -> None:
    """The stop string is kept, and text after it from the same token is dropped."""
    stream = Detokenizer(tokenizer, START, stop)
    pieces = pieces_of(stream, tokenizer.encode(text))
    assert "".join(pieces) == stream.text == expected
    assert stream.stopped == (expected != text)


def test_a_stop_string_in_the_prompt_does_not_count() -> None:
    characters = character_tokenizer("ab")
    stream = after(characters, "a", "ab")
    assert pieces_of(stream, characters.encode("ba")) == ["b", "a", ""]
    assert not stream.stopped


@settings(deadline=None)
@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=4))
def test_stops_where_a_search_of_the_whole_text_would(text: str, stop: list[str]) -> None:
    characters = character_tokenizer("ab")
    stream = Detokenizer(characters, TextPosition((EOS,)), stop)
    pieces_of(stream, characters.encode(text) if text else [])
    ends = [text.find(s) + len(s) for s in stop if s in text]
    assert stream.text == text[: min(ends, default=len(text))]


#: Bytes that form complete characters, partial characters, and invalid sequences.
BYTE_IDS = st.lists(
    st.sampled_from([*BYTES.encode("a\u20ac\u00e9\U0001f600 "), *BYTES.encode("\u20ac")[:2]]), max_size=40
)


@settings(deadline=None)
@given(prompt=st.sampled_from(["a", "\u20ac", " b"]), ids=BYTE_IDS)
def test_tokens_in_bulk_give_the_text_of_one_by_one(prompt: str, ids: list[int]) -> None:
    single, bulk = after(BYTES, prompt), after(BYTES, prompt)
    pieces_of(single, ids)
    bulk.extend(ids)
    bulk.flush()
    assert bulk.text == single.text


@settings(deadline=None)
@given(ids=BYTE_IDS, stop=st.lists(st.sampled_from(["a\u20ac", "\u20ac\u00e9", "  a"]), max_size=2), data=st.data())
def test_a_stream_goes_on_from_its_position_as_if_it_had_not_stopped(
    ids: list[int], stop: list[str], data: st.DataObject
) -> None:
    """A detokenizer restored from its position continues identically, even inside a character or a stop string."""
    whole = Detokenizer(BYTES, START, stop)
    pieces_of(whole, ids)
    first = Detokenizer(BYTES, START, stop)
    for token_id in ids[: (cut := data.draw(st.integers(0, len(ids))))]:
        first.append(token_id)
        if first.stopped:
            return
    second = Detokenizer(BYTES, first.position(max_tail=10), stop)
    pieces_of(second, ids[cut:])
    assert first.text + second.text == whole.text
    assert second.stopped == whole.stopped


def test_a_prompt_between_ends_what_was_begun() -> None:
    """A new prompt takes buffered bytes as its context, and no stop string matches across it."""
    first = Detokenizer(BYTES, START, ["xy"])
    for token_id in [*BYTES.encode("x"), *BYTES.encode("\u20ac")[:2]]:
        first.append(token_id)
    position = first.position(max_tail=10).after_prompt(BYTES.encode("abcdefg"))
    assert position == TextPosition(tuple(BYTES.encode("cdefg")))
    assert not pieces_of(second := Detokenizer(BYTES, position, ["xy"]), BYTES.encode("y"))[-1]
    assert (second.text, second.stopped) == ("y", False)
