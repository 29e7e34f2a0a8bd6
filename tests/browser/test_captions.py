"""Captions: choosing or pasting an image, its caption and attention; accessibility of answers about images, clips,
audio and series."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from service.bundle.load import load_bundle
from tests.browser.conftest import watched_page
from tests.browser.playground import answer_of, open_model
from tests.browser.readable import PHONE, THEMES, Theme, contrast_of, nameless_roles, width_of
from tests.browser.signal_models import CAPTIONER, FORECASTER, MOTION, SOUND, VIDEO
from tests.live_server import LiveServer, live_server

#: The input size of the tiny captioner.
ROWS, COLUMNS = 16, 24


@pytest.fixture(scope="module")
def server(signal_models: Path) -> Iterator[LiveServer]:
    with live_server(signal_models) as started:
        yield started


def describe(page: Page) -> tuple[bytes, dict[str, Any]]:
    """Submit the form and return the image that was sent and the prediction."""
    with page.expect_response("**/predict") as response:
        page.locator("button.run").click()
    answer_of(page)
    prediction: dict[str, Any] = response.value.json()["predictions"][0]
    return base64.b64decode(response.value.request.post_data_json["inputs"]["png"]), prediction


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    """Return a plain blue image."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (0, 0, 255)).save(file, kind)
    return file.getvalue()


def choose(page: Page, name: str, content: bytes, mime: str) -> None:
    page.locator("#input").set_input_files({"name": name, "mimeType": mime, "buffer": content})


def test_a_recorded_picture_is_described(page: Page, signal_models: Path) -> None:
    open_model(page, CAPTIONER)
    expect(page.locator("form").get_by_role("img", name="The picture")).to_be_visible()
    page.get_by_role("group", name="Examples").get_by_role("button").nth(1).click()
    sent, prediction = describe(page)
    example = load_bundle(signal_models / CAPTIONER / "1").examples[1]
    assert base64.b64encode(sent).decode() == example.inputs["png"]
    expect(page.locator(".translated")).to_have_text(prediction["text"] or "(an empty text)")


def veil(page: Page) -> list[int]:
    """Return the opacity of each pixel of the overlay on the image, 0 to 255."""
    opacities: list[int] = page.locator(".veil").evaluate(
        """node => {
            const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            pen.drawImage(node, 0, 0);
            return [...pen.getImageData(0, 0, node.width, node.height).data].filter((_, index) => index % 4 === 3);
        }"""
    )
    return opacities


def test_each_word_shows_where_the_model_looked(page: Page) -> None:
    """Hovering over or focusing a word overlays the image with the attention weights of that word."""
    open_model(page, CAPTIONER)
    _, prediction = describe(page)
    attention = prediction["attention"]
    words = page.get_by_role("listbox", name="Caption, in pieces").get_by_role("option")
    expect(words).to_have_count(len(attention["tokens"]))
    assert not any(veil(page))
    words.first.hover()
    assert_veiled(veil(page), attention["weights"][0])
    words.first.focus()
    page.keyboard.press("End")
    expect(words.last).to_have_attribute("aria-selected", "true")
    assert_veiled(veil(page), attention["weights"][-1])
    readout = page.locator(".picture-attention .readout")
    expect(readout).to_contain_text(" %")
    assert (words.last.get_attribute("aria-label") or "").endswith(readout.inner_text().split(" ← ")[1])


def assert_veiled(opacities: list[int], weights: list[float]) -> None:
    assert opacities[int(np.argmax(weights))] == 0
    expected = (1 - np.array(weights) / max(weights)) * 0.82 * 255
    assert opacities == pytest.approx(expected, abs=1)


def test_a_png_of_the_models_proportions_is_sent_as_it_is(page: Page) -> None:
    open_model(page, CAPTIONER)
    content = picture(3 * COLUMNS, 3 * ROWS)
    choose(page, "blue.png", content, "image/png")
    assert describe(page)[0] == content


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("GIF", "image/gif")])
def test_any_other_picture_becomes_a_png_of_the_models_size(page: Page, kind: str, mime: str) -> None:
    """Any other image is converted to a PNG of the model's size, scaled to fit and padded with white."""
    open_model(page, CAPTIONER)
    choose(page, "blue", picture(100, 100, kind), mime)
    expect(page.locator(".input-field .picture")).to_have_attribute("width", str(COLUMNS))
    with Image.open(io.BytesIO(describe(page)[0])) as sent:
        assert (sent.format, sent.size) == ("PNG", (COLUMNS, ROWS))
        middle, edge = (sent.convert("RGB").getpixel(place) for place in ((COLUMNS // 2, ROWS // 2), (0, ROWS // 2)))
    assert middle == pytest.approx((0, 0, 255), abs=3)
    assert edge == (255, 255, 255)


def test_a_picture_can_be_pasted(page: Page) -> None:
    open_model(page, CAPTIONER)
    content = picture(2 * COLUMNS, 2 * ROWS)
    page.evaluate(
        """base64 => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "blue.png", { type: "image/png" }));
            const options = { clipboardData, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        base64.b64encode(content).decode(),
    )
    expect(page.locator(".input-field .picture")).to_have_attribute("width", str(2 * COLUMNS))
    assert describe(page)[0] == content


def test_what_is_no_picture_is_said_at_the_field_and_the_next_one_is_taken(page: Page) -> None:
    open_model(page, CAPTIONER)
    choose(page, "notes.png", b"no picture at all", "image/png")
    expect(page.locator(".field-error")).to_have_text("the browser cannot read notes.png as a picture")
    choose(page, "blue.png", picture(COLUMNS, ROWS), "image/png")
    expect(page.locator(".field-error")).to_have_count(0)
    assert describe(page)[0] == picture(COLUMNS, ROWS)


@pytest.fixture(scope="module", params=[SOUND, MOTION, FORECASTER, CAPTIONER, VIDEO])
def answered_page(request: pytest.FixtureRequest, context: BrowserContext) -> Iterator[Page]:
    """A page with a model's answer and all details expanded."""
    for page in watched_page(context):
        open_model(page, request.param)
        page.locator("button.run").click()
        expect(page.locator(".receipt")).to_be_visible()
        for summary in page.locator("summary").all():
            summary.click()
        yield page


@pytest.mark.parametrize("theme", THEMES)
def test_text_about_signals_stands_out(answered_page: Page, theme: Theme) -> None:
    answered_page.emulate_media(color_scheme=theme)
    measured = contrast_of(answered_page)
    assert measured["seen"] > 40
    assert measured["found"] == []


def test_all_about_signals_has_a_name_for_a_screen_reader(answered_page: Page) -> None:
    assert nameless_roles(answered_page) == []


def test_signals_fit_a_phone(answered_page: Page) -> None:
    answered_page.set_viewport_size(PHONE)
    assert width_of(answered_page) == PHONE["width"]
