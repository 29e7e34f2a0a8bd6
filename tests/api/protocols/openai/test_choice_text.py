"""Texts of choices end before their stop string, whole and streamed alike, with the tokens that belong to them."""

from __future__ import annotations

import itertools
import random

import pytest

from service.api.protocols.openai.choice_text import (
    Piece,
    StreamedText,
    before_stop,
    num_undecided,
    prompt_piece,
    starts_of,
    whole_piece,
    written_logprobs,
)
from service.tasks.generation.result import FinishReason, GeneratedText, PromptToken, Token, TokenEvent

END = Token(3, "<eos>", -0.5, True)


def token(text: str) -> Token:
    return Token(9, text, -1.0, False)


def events(texts: list[str], reason: FinishReason) -> list[TokenEvent]:
    """A stream of these tokens, which ends for this reason."""
    tokens = [*map(token, texts), *([END] if reason == "eos_token" else [])]
    return [
        TokenEvent(number, one, (), reason if number == len(tokens) else None) for number, one in enumerate(tokens, 1)
    ]


def streamed(texts: list[str], reason: FinishReason, stop: list[str], start: int = 0) -> list[Piece]:
    choice = StreamedText(stop, start, is_scored=True)
    return [piece for event in events(texts, reason) if (piece := choice.take(event)) is not None]


@pytest.mark.parametrize(
    ("text", "stop", "before"),
    [
        ("one\n", ["\n"], "one"),
        ("END", ["END"], ""),
        ("say the end", ["end", "the end", "xend"], "say "),
        ("\U0001f600é!", ["é!"], "\U0001f600"),
        ("nd", ["end"], ""),  # it began in the text that is continued
    ],
)
def test_the_stop_string_is_no_part_of_the_text(text: str, stop: list[str], before: str) -> None:
    assert before_stop(text, stop) == before


@pytest.mark.parametrize(
    ("text", "stop", "count"),
    [
        ("abc", [], 0),
        ("abc", ["cd", "bcd"], 2),
        ("abc", ["x"], 0),
        ("aa", ["aaa"], 2),
        ("", ["ab"], 0),
    ],
)
def test_only_what_may_begin_a_stop_string_is_undecided(text: str, stop: list[str], count: int) -> None:
    assert num_undecided(text, stop) == count


def test_a_stream_never_gives_a_part_of_its_stop_string() -> None:
    """The beginning of one is held back until it is clear that it is none."""
    pieces = streamed(["a", "E", "N", "x", "E", "N", "D"], "stop_sequence", ["END"])
    assert [piece.text for piece in pieces] == ["a", "ENx", ""]
    assert [[one.text for one in piece.tokens] for piece in pieces] == [["a"], ["E", "N", "x"], []]
    assert pieces[-1].finish_reason == "stop"


def test_text_that_was_held_back_comes_with_the_end() -> None:
    pieces = streamed(["a", "E", "N"], "length", ["END"])
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("a", None), ("EN", "length")]


def test_the_end_token_is_listed_and_writes_nothing() -> None:
    (_, last) = streamed(["a"], "eos_token", [])
    assert (last.text, last.finish_reason) == ("", "stop")
    assert [one.text for one in last.tokens] == ["<eos>"]


def test_what_the_end_releases_is_written() -> None:
    """Bytes that never became a whole character come with the end token."""
    choice = StreamedText([], 0, is_scored=False)
    piece = choice.take(TokenEvent(1, END, (), "eos_token"), "\ufffd")
    assert piece == Piece("\ufffd", [], "stop")


def test_whole_and_streamed_texts_are_the_same() -> None:
    """For random tokens and stop strings: text, tokens, offsets and reason."""
    draw = random.Random(5)
    for _ in range(500):
        stop = ["".join(draw.choices("ab", k=draw.randint(1, 4))) for _ in range(draw.randint(0, 3))]
        texts: list[str] = []
        reason: FinishReason = "length"
        for text in ("".join(draw.choices("ab", k=draw.randint(0, 3))) for _ in range(12)):
            before = "".join(texts)
            ends = [end for one in stop if (end := _end_of(before + text, one)) is not None]
            texts.append((before + text)[: min(ends)][len(before) :] if ends else text)
            if ends:
                reason = "stop_sequence"
                break
        made = GeneratedText("".join(texts), [9] * len(texts), reason, None, [*map(token, texts)])
        whole = whole_piece(made, stop, 3)
        pieces = streamed(texts, reason, stop, 3)
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [*itertools.chain.from_iterable(piece.tokens for piece in pieces)] == whole.tokens
        assert pieces[-1].finish_reason == whole.finish_reason


def _end_of(text: str, stop: str) -> int | None:
    start = text.find(stop)
    return None if start < 0 else start + len(stop)


def test_top_tokens_have_the_chosen_one_among_them() -> None:
    """So there is one more than asked for if it is not among the most likely."""
    top = [[Token(5, "x", -0.1, False), Token(6, "y", -0.2, False)]]
    made = GeneratedText("a", [9], "length", None, [token("a")], top)
    assert written_logprobs(whole_piece(made, [], 0).tokens)["top_logprobs"] == [{"a": -1.0, "x": -0.1, "y": -0.2}]


def test_a_prompt_is_echoed_with_nothing_known_about_its_first_token() -> None:
    top = (Token(5, "x", -0.1, False),)
    tokens = [PromptToken(9, "He", None), PromptToken(1, "<unk>", -2.0, top), PromptToken(9, "y", -1.0)]
    piece = prompt_piece("He?y", tokens, [0, 2, 3])
    assert written_logprobs(piece.tokens) == {
        "tokens": ["He", "<unk>", "y"],
        "token_logprobs": [None, -2.0, -1.0],
        "top_logprobs": [None, {"<unk>": -2.0, "x": -0.1}, {"y": -1.0}],
        "text_offset": [0, 2, 3],
    }
    assert starts_of(tokens) == [0, 2, 2]
    assert starts_of([]) == []
