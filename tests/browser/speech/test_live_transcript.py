"""The live view of speech, with Chromium's fake microphone: text while one speaks, and errors in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect

from service.bundle.load import load_bundle
from tests.access.key_makers import key, key_file, secret_of
from tests.api.streaming.tiny_speech import write_tiny_speech_bundle
from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import answer_of, open_model
from tests.browser.readable import PHONE, contrast_of, nameless_roles, width_of
from tests.live_server import LiveServer, live_server

SPEECH, SPEECH_WHOLE = "tiny-speech", "tiny-speech-whole"
STARTED = {"type": "started", "model": SPEECH, "version": "1", "task": "transcription", "reads": "chunks"}
KEEP_KEY = "sessionStorage.setItem('unroll-api-key', {secret})"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech") / "models"
    write_tiny_speech_bundle(folder, SPEECH)
    write_tiny_speech_bundle(folder, SPEECH_WHOLE, bidirectional=True)
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service that wants a key, as most that a browser reaches do: streams need it too."""
    with live_server(models, api_keys_file=key_file(tmp_path_factory.mktemp("keys"), key("person"))) as started:
        yield started


@pytest.fixture(scope="module")
def context(browser: Browser, server: LiveServer) -> Iterator[BrowserContext]:
    context = new_context(browser, server, permissions=["microphone"])
    context.add_init_script(KEEP_KEY.format(secret=json.dumps(secret_of("person"))))
    yield context
    context.close()


def utterances(page: Page) -> str:
    return page.locator(".transcript").inner_text()


def test_text_comes_while_one_speaks_and_the_recording_is_kept(page: Page) -> None:
    """By keyboard; a partial text first, a finished one in the end; the recording can be transcribed once more."""
    open_model(page, SPEECH)
    button = page.get_by_role("button", name="Speak")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Live transcript").locator(".is-partial").first).to_be_visible()
    assert page.get_by_role("log", name="Finished utterances").get_attribute("aria-live") == "polite"
    assert contrast_of(page)["found"] == []
    assert nameless_roles(page) == []
    page.keyboard.press("Escape")
    expect(page.locator(".speak-status")).to_contain_text("Done:")
    live = utterances(page)
    assert live.strip()
    assert page.locator(".timeline-words li").count()
    expect(button).to_be_focused()
    with page.expect_response("**/predict") as response:
        page.locator("button.run").click()
    answer_of(page)
    assert response.value.json()["predictions"][0]["text"] in utterances(page)


def test_an_example_is_shown_with_its_words_and_fits_a_phone(page: Page, models: Path) -> None:
    page.set_viewport_size(PHONE)
    open_model(page, SPEECH)
    recorded = load_bundle(models / SPEECH / "1").examples[0].answer
    expect(page.locator(".utterance").first).to_contain_text(recorded["text"])
    expect(page.locator(".timeline-words").first).to_contain_text(recorded["text"].split()[0])
    assert width_of(page) <= PHONE["width"]


def test_a_model_that_reads_both_ways_answers_when_one_stops(page: Page) -> None:
    open_model(page, SPEECH_WHOLE)
    page.get_by_role("button", name="Speak").click()
    expect(page.locator(".transcript")).to_contain_text("The text appears when you stop.")
    expect(page.locator(".readings dd").first).to_have_text(re.compile(r"^[1-9]\d*\.\d s$"))
    page.get_by_role("button", name="Stop").first.click()
    expect(page.locator(".speak-status")).to_contain_text("Done:")
    expect(page.locator(".utterance").first).to_be_visible()


def heard(text: str, is_final: bool) -> dict[str, Any]:
    return {"text": text, "confidence": 0.9, "start_s": 0.0, "end_s": 0.5, "is_final": is_final}


def result(index: int, *predictions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "result", "index": index, "predictions": list(predictions)}


def refusal(error: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": error, "error_type": "overloaded", "index": 1, "request_id": "r", **more}


@pytest.mark.parametrize(
    ("last", "code", "sentence"),
    [
        (refusal("too many streams", retry_after_s=2.0), 1013, "Too many streams. Try again in 2 s."),
        (None, 1011, "The connection to the service was lost."),
        (None, 1009, "The recording is longer than this service takes in one input."),
    ],
)
def test_what_was_said_stays_when_the_stream_ends(page: Page, last: Any, code: int, sentence: str) -> None:
    """A scripted service: the finished and the partial text stay, the recording too, and the reason is told."""

    def talk(socket: WebSocketRoute) -> None:
        pieces = iter([result(1, heard("one two", True), heard("three", False)), last])

        def answer(message: str | bytes) -> None:
            if isinstance(message, str):
                socket.send(json.dumps(STARTED))
            elif (told := next(pieces, None)) is not None:
                socket.send(json.dumps(told))
            else:
                socket.close(code=code)

        socket.on_message(answer)

    page.route_web_socket("**/stream", talk)
    open_model(page, SPEECH)
    recording = page.locator(".sound .reading")
    example = recording.inner_text()
    page.get_by_role("button", name="Speak").click()
    expect(page.locator(".speaking [role=alert]")).to_contain_text(sentence)
    assert [line for line in utterances(page).splitlines() if line in ("one two", "three")] == ["one two", "three"]
    expect(recording).not_to_have_text(example)
    expect(page.get_by_role("button", name="Play")).to_be_enabled()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_a_stream_goes_on_when_the_service_restarts(page: Page) -> None:
    """With the state it handed out; what it had not answered is sent again."""
    starts: list[dict[str, Any]] = []
    lengths: list[list[int]] = []

    def talk(socket: WebSocketRoute) -> None:
        lengths.append([])

        def answer(message: str | bytes) -> None:
            if isinstance(message, str):
                starts.append(json.loads(message))
                socket.send(json.dumps(STARTED))
                return
            lengths[-1].append(len(message))
            if len(starts) == 1:
                socket.send(json.dumps({"type": "closing", "index": 0, "state": "sealed", "held": ""}))
            else:
                socket.send(json.dumps(result(len(lengths[-1]), heard("back again", False))))

        socket.on_message(answer)

    page.route_web_socket("**/stream", talk)
    open_model(page, SPEECH)
    page.get_by_role("button", name="Speak").click()
    expect(page.locator(".transcript .is-partial")).to_contain_text("back again")
    assert [start.get("state") for start in starts] == [None, "sealed"]
    assert lengths[1][: len(lengths[0])] == lengths[0]


def test_without_permission_it_says_how_to_go_on(browser: Browser, server: LiveServer) -> None:
    context = new_context(browser, server)
    context.add_init_script(KEEP_KEY.format(secret=json.dumps(secret_of("person"))))
    for page in watched_page(context):
        open_model(page, SPEECH)
        page.get_by_role("button", name="Speak").click()
        expect(page.locator(".speaking [role=alert]")).to_contain_text("may not use the microphone")
        expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    context.close()
