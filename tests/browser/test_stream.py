"""A page of the service opens a WebSocket in Chromium, with text and sound in pieces, as its policy allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import new_context, watched_page
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import write_all_tiny_bundles, write_tiny_bundle
from tests.tiny_signals import CONFIGS, RATE_HZ, write_tiny_signal_bundle

#: Sends the messages, arrays as bytes of int16, and returns all that came until the stream closed.
TALK = """([messages]) => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/stream`);
  const heard = [];
  socket.onopen = () => messages.forEach(
    (message) => socket.send(Array.isArray(message) ? new Int16Array(message) : JSON.stringify(message)),
  );
  socket.onmessage = ({data}) => {
    heard.push(JSON.parse(data));
    if (heard.at(-1).type === "final") socket.close(1000, "done");
  };
  socket.onclose = ({code}) => resolve({heard, code});
})"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = write_all_tiny_bundles(tmp_path_factory.mktemp("streams") / "models")
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    write_tiny_signal_bundle(models, CONFIGS["waveform"], "tiny-sound")
    with live_server(models) as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    context = new_context(browser, server)
    for opened in watched_page(context):
        opened.goto("/")
        yield opened
    context.close()


def talk(page: Page, *messages: Any) -> dict[str, Any]:
    answer: dict[str, Any] = page.evaluate(TALK, [list(messages)])
    return answer


def test_a_text_is_answered_piece_by_piece(page: Page) -> None:
    pieces = [{"type": "text", "text": text} for text in ("The ca", "t sat on a ", "mat.")]
    spoken = talk(page, {"type": "start", "model": "tiny-tagger-chunks"}, *pieces, {"type": "end"})
    words = [token["text"] for m in spoken["heard"] for p in m.get("predictions", []) for token in p["tokens"]]
    assert words == ["The", "cat", "sat", "on", "a", "mat", "."]
    assert spoken["code"] == 1000


def test_samples_of_sound_are_sent_as_bytes(page: Page) -> None:
    start = {"type": "start", "model": "tiny-sound", "sample_rate_hz": RATE_HZ}
    spoken = talk(page, start, [1000, -1000] * 300, [500, -500] * 300, {"type": "end"})
    assert spoken["heard"][-1]["predictions"][0]["label"] in ("up", "down", "still")


def test_an_error_comes_with_its_close_code(page: Page) -> None:
    spoken = talk(page, {"type": "start", "model": "tiny-tagger-chunks"}, {"type": "start", "model": "tiny-sound"})
    assert [message["type"] for message in spoken["heard"]] == ["started", "error"]
    assert spoken["code"] == 1008
