"""Where the bounded protocol cannot work, uvicorn's own protocols serve streams through ASGI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.streaming.conftest import stream_of
from tests.live_server import live_server


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_text_is_read_in_pieces_and_errors_close_with_their_code(stream_models: Path, http: str) -> None:
    with live_server(stream_models, http=http) as server, stream_of(server) as stream:
        stream.start("tiny-tagger-chunks")
        (prediction,) = stream.text("the ca")["predictions"]
        assert [token["text"] for token in prediction["tokens"]] == ["the"]
        (prediction,) = stream.end()["predictions"]
        assert [token["text"] for token in prediction["tokens"]] == ["ca"]
        assert stream.text("the ca")["error_type"] == "out_of_order"
        assert stream.close_code() == 1008
