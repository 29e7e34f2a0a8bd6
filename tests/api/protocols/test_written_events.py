"""Events that are written by formatting bytes are those that a JSON library writes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from service.api.protocols.openai.answer import written_choice
from service.api.protocols.openai.choice_text import Piece
from service.api.protocols.openai.chunks import _around_text
from service.api.protocols.text_generation_inference.events import frame, token_event, token_frame
from service.tasks.generation.result import Token, TokenEvent

TEXTS = ["a", "", " ", '"', "\\", "\n", "\u20ac", "\U0001f600", "\x00", "\x7f", "%d", "\u2028", "</script>"]
NUMBERS = [0.0, -0.0, -1.5, -1e-7, -1e-300, -745.1, -1e22, -0.1, math.nan, -math.inf]


@pytest.mark.parametrize("text", TEXTS)
def test_a_token_is_written_as_its_json(text: str) -> None:
    for number in NUMBERS:
        for is_special in (False, True):
            event = TokenEvent(7, Token(12, text, number, is_special))
            data = token_frame(event)
            assert data.startswith(b"data:{")
            assert data.endswith(b"}\n\n")
            assert data.count(b"\n") == 2
            assert repr(json.loads(data[5:])) == repr(json.loads(frame(token_event(event))[5:]))


def test_a_token_with_others_beside_it_is_written_by_the_library() -> None:
    event = TokenEvent(7, Token(12, "a", -1.0, False), [Token(13, "b", -2.0, False)])
    assert token_frame(event) == frame(token_event(event))


@pytest.mark.parametrize("has_usage", [False, True])
@pytest.mark.parametrize("name", ["m", '"text":""', 'a "text":"" b'])
def test_a_text_is_written_into_its_chunk(name: str, has_usage: bool) -> None:
    """Whatever the model is called, the text stands in the choice."""
    head: dict[str, Any] = {"id": "x", "model": name}
    for text in TEXTS:
        data = json.dumps(text).encode().join(_around_text(head, has_usage=has_usage))
        usage = {"usage": None} if has_usage else {}
        choice = written_choice(0, [Piece(text, ())], is_scored=False)
        assert json.loads(data[len(b"data: ") :]) == {**head, "choices": [choice], **usage}
