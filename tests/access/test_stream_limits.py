"""The limits a minute of a key hold for each piece of a WebSocket, not only when it is opened."""

from __future__ import annotations

from pathlib import Path

from service.access.api_key import KeyLimits
from tests.access.key_makers import bearer, key, key_file
from tests.live_server import live_server
from tests.server.websocket.raw_socket import RawSocket, offer, text

TEXT = {"type": "text", "text": "ab"}
GENERATE = {"type": "start", "model": "tiny-generator", "parameters": {"max_new_tokens": 4, "do_sample": False}}


def test_the_pieces_of_an_open_connection_count_against_the_limits_of_its_key(
    tiny_models: Path, tmp_path: Path
) -> None:
    """The error says when to try again, and has the state after what was answered: nothing is lost."""
    keys = [
        key("requests", limits=KeyLimits(requests_per_minute=3)),
        key("tokens", limits=KeyLimits(tokens_per_minute=5)),
        key("free"),
    ]
    answered = {}
    with live_server(tiny_models, api_keys_file=key_file(tmp_path, *keys)) as server:
        for name in ("requests", "tokens", "free"):
            with RawSocket(server.port) as connection:
                assert connection.ask(offer(authorization=bearer(name))).status == 101
                assert connection.say(GENERATE)["type"] == "started"
                for number in range(1, 8):
                    connection.send(text(TEXT) + text({"type": "generate"}))
                    while "generated_text" not in (message := connection.receive().json):
                        if message["type"] == "error":
                            break
                    if message["type"] == "error":
                        assert message["error_type"] == "rate_limited"
                        assert 0 < message["retry_after_s"] <= 60
                        assert message["state"], "the text can go on from here"
                        assert connection.receive().close_code == 1013
                        break
                    answered[name] = number
    assert answered == {"requests": 2, "tokens": 1, "free": 7}
