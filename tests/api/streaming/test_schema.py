"""The JSON schema of the messages in the documentation is that of the code, and what is sent fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from service.api.streaming.messages import SentMessage, message_schema
from tests.api.streaming.conftest import Client

SCHEMA = Path(__file__).parents[3] / "service" / "docs" / "stream-messages.schema.json"


def test_the_documented_schema_is_that_of_the_code() -> None:
    """Renew it with `python -m service.api.streaming.messages > service/docs/stream-messages.schema.json`."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == message_schema()


TALKS: list[list[Any]] = [
    [
        {"type": "start", "model": "tiny-tagger-chunks"},
        {"type": "text", "text": "the cat sat "},
        {"type": "state"},
        {"type": "end", "return_state": True},
    ],
    [{"type": "start", "model": "tiny-sound"}, b"\x00\x01" * 600, {"type": "end"}],
    [{"type": "start", "model": "tiny-generator", "parameters": {"max_new_tokens": 1, "details": True}},
     {"type": "text", "text": "a"}, {"type": "end"}],
    [{"type": "start", "model": "none"}],
    [{"type": "text", "text": "a"}],
]  # fmt: skip


@pytest.mark.parametrize("talk", TALKS)
def test_every_message_of_the_service_fits_the_schema(stream: Client, talk: list[Any]) -> None:
    schema = TypeAdapter(SentMessage)
    heard = [stream.say(message) for message in talk]
    while heard[-1]["type"] == "token":
        heard.append(stream.hear())
    for message in heard:
        assert schema.validate_python(message).root.type == message["type"]
