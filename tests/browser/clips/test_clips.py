"""Clips: choosing a GIF file, playing it, its caption with actions, and where and when the model looked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from service.bundle.load import load_bundle
from tests.browser.playground import answer_of, open_model
from tests.browser.signal_models import VIDEO
from tests.live_server import LiveServer, live_server
from tests.tasks.inputs.clips.tiny_clips import gif_of, square_clip

GIF = gif_of(square_clip("red", ("moves left", "moves right"), 8))


@pytest.fixture(scope="module")
def server(signal_models: Path) -> Iterator[LiveServer]:
    with live_server(signal_models) as started:
        yield started


def describe(page: Page) -> tuple[bytes, dict[str, Any]]:
    """Submit the form and return the clip that was sent and the prediction."""
    with page.expect_response("**/predict") as response:
        page.locator("button.run").click()
    answer_of(page)
    prediction: dict[str, Any] = response.value.json()["predictions"][0]
    return base64.b64decode(response.value.request.post_data_json["inputs"]["clip"]), prediction


def choose(page: Page, name: str, content: bytes, mime: str) -> None:
    page.locator("#input").set_input_files({"name": name, "mimeType": mime, "buffer": content})


def test_a_recorded_clip_is_described_with_its_actions(page: Page, signal_models: Path) -> None:
    """The first example is sent as it is; caption, both actions and the number of frames stand in the answer."""
    open_model(page, VIDEO)
    expect(page.locator("form").get_by_role("img", name="The clip")).to_be_visible()
    sent, prediction = describe(page)
    example = load_bundle(signal_models / VIDEO / "1").examples[0]
    assert base64.b64encode(sent).decode() == example.inputs["clip"]
    answer = page.locator(".answer")
    expect(answer.locator(".translated")).to_have_text(prediction["text"] or "(an empty text)")
    for name, told in (("Action", "action"), ("What comes next", "next_action")):
        group = answer.locator(".classified", has_text=name).locator(".bar-row").first
        expect(group.locator(".bar-label")).to_have_text(prediction[told]["label"])
    expect(answer).to_contain_text(f"of {prediction['num_frames']} frames read")


def test_a_chosen_gif_is_sent_as_it_is_and_plays(page: Page) -> None:
    """The canvas shows other frames while it plays, and none once it is paused."""
    open_model(page, VIDEO)
    choose(page, "red.gif", GIF, "image/gif")
    clip = page.locator("form .clip-player")
    expect(clip.locator("canvas")).to_have_attribute("width", "16")
    drawn = "node => node.querySelector('canvas').toDataURL()"
    before = clip.evaluate(drawn)
    page.wait_for_function(
        "before => document.querySelector('form .clip-player canvas').toDataURL() !== before", arg=before
    )
    clip.get_by_role("button", name="Pause").click()
    expect(clip.get_by_role("button", name="Play")).to_be_visible()
    assert clip.evaluate(drawn) == clip.evaluate(drawn)
    assert describe(page)[0] == GIF


def test_each_word_shows_when_and_where_the_model_looked(page: Page) -> None:
    """Pointing at a word darkens the places of all frames by their weight, and a bar is the share of each frame."""
    open_model(page, VIDEO)
    choose(page, "red.gif", GIF, "image/gif")
    _, prediction = describe(page)
    attention = prediction["attention"]
    words = page.get_by_role("listbox", name="Caption, in pieces").get_by_role("option")
    expect(words).to_have_count(len(attention["tokens"]))
    frames = page.locator(".film li")
    expect(frames).to_have_count(len(prediction["frames"]))
    words.last.hover()
    weights = attention["weights"][-1]
    most = max(max(frame) for frame in weights)
    longest = max(map(sum, weights))
    for number, frame in enumerate(weights):
        assert veil(page, number) == pytest.approx([(1 - weight / most) * 0.82 * 255 for weight in frame], abs=1)
        share = float(frames.nth(number).evaluate("node => node.style.getPropertyValue('--share')"))
        assert share == pytest.approx(sum(frame) / longest, abs=0.001)
    expect(page.locator(".clip-attention .readout")).to_contain_text("frame ")
    assert frames.first.locator("canvas.film-frame").get_attribute("width") == "16"


def veil(page: Page, number: int) -> list[int]:
    """The opacity of each place over a frame, 0 to 255."""
    opacities: list[int] = (
        page.locator(".film .veil")
        .nth(number)
        .evaluate(
            """node => {
                const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
                pen.drawImage(node, 0, 0);
                return [...pen.getImageData(0, 0, node.width, node.height).data].filter((_, index) => index % 4 === 3);
            }"""
        )
    )
    return opacities


def test_what_is_no_clip_is_said_at_the_field_and_the_next_one_is_taken(page: Page) -> None:
    open_model(page, VIDEO)
    choose(page, "notes.gif", b"GIF89a, it says", "image/gif")
    expect(page.locator(".field-error")).to_contain_text("the browser cannot read notes.gif as a clip")
    choose(page, "red.gif", GIF, "image/gif")
    expect(page.locator(".field-error")).to_have_count(0)
    assert describe(page)[0] == GIF
