"""Models of named arrays: arrays as JSON, and outputs as numbers, tables and lines over the steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from service.bundle.load import Bundle, load_bundle
from tests.browser.playground import ask, call, open_model, visit
from tests.browser.readable import PHONE, THEMES, Theme, contrast_of, nameless_roles, width_of
from tests.live_server import LiveServer, live_server
from tests.tasks.tensors.tiny_tensors import write_tensors_bundle

SEVERAL, STEPS = "tiny-several", "tiny-lstm"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("arrays") / "models"
    write_tensors_bundle(folder, "lstm", STEPS)
    return load_bundle(write_tensors_bundle(folder, "several", SEVERAL))


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[LiveServer]:
    with live_server(bundle.path.parents[1]) as started:
        yield started


def test_inputs_are_listed_with_their_forms(page: Page) -> None:
    """Dtype, shape and description of each input stand above the field, and those of outputs at their answers."""
    open_model(page, SEVERAL)
    forms = page.get_by_role("list", name="Inputs of the model").get_by_role("listitem")
    expect(forms).to_have_text(
        ["x: float32 [time, 3]", "pixels: uint8 [time, 4]", "context: float32 [2]", "rate: float32"]
    )
    expect(page.locator(".array h3")).to_have_text(["z float32 [time, 2]", "score float32"])
    open_model(page, STEPS)
    expect(forms.first).to_have_text("x: float32 [time, 3], acceleration, m/s^2")
    expect(page.locator("#facts")).to_contain_text("40 steps")


def test_an_example_is_sent_as_it_was_recorded(page: Page, bundle: Bundle) -> None:
    """The field has the arrays as JSON, a line for each row, and sends them unchanged."""
    open_model(page, SEVERAL)
    example = bundle.examples[1]
    with page.expect_request("**/predict") as request:
        page.get_by_role("button", name="Arrays 2").click()
    assert request.value.post_data_json["inputs"] == example.inputs
    lines = page.locator("#input").input_value().splitlines()
    assert (lines[0], lines[1], len(lines)) == ("{", '  "x": [', 2 + 2 * (6 + 2) + 2)


def test_outputs_over_time_are_a_line_and_a_table(page: Page, bundle: Bundle) -> None:
    """The cursor reads one value of a step, a selection draws another column, and the table has all of them."""
    open_model(page, SEVERAL)
    rows = bundle.examples[0].answer["outputs"]["z"]
    line = page.get_by_role("slider", name="z[0], step by step")
    expect(line).to_have_attribute("aria-valuemax", str(len(rows) - 1))
    page.get_by_label("Line of z").select_option("z[1]")
    line = page.get_by_role("slider", name="z[1], step by step")
    line.focus()
    page.keyboard.press("ArrowRight")
    shown = f"{rows[1][1]:.4g}".replace("-", "−")
    expect(line).to_have_attribute("aria-valuetext", f"step 2 of 4: z[1] {shown}")
    page.get_by_role("region", name="z", exact=True).get_by_text("As a table").click()
    cells = page.get_by_role("region", name="Values of z").get_by_role("row").nth(2)
    expect(cells).to_contain_text(shown)
    score = page.get_by_role("region", name="score", exact=True)
    expect(score).to_contain_text(f"{bundle.examples[0].answer['outputs']['score']:.4g}".replace("-", "−"))


def test_what_cannot_be_sent_is_said_at_the_field(page: Page) -> None:
    """Text that is no JSON is told by the page, arrays that are refused by the service, both at the field."""
    open_model(page, SEVERAL)
    page.locator("#input").fill('{"x": [')
    page.locator("button.run").click()
    expect(page.locator(".field-error")).to_contain_text("invalid JSON")
    page.locator("#input").fill("[1, 2]")
    page.locator("button.run").click()
    expect(page.locator(".field-error")).to_have_text("the JSON is no object with arrays by name")
    ask(page, '{"x": [[0, 0]]}')
    expect(page.locator(".field-error")).to_contain_text("pixels, context, rate is missing")


def test_arrays_are_read_as_people_have_them(page: Page) -> None:
    """The arrays alone, an input with `tensors`, and the JSON of a whole request are the same."""
    visit(page, "/")
    for text in ('{"x": [1]}', '{"tensors": {"x": [1]}}', '{"model": "m", "inputs": {"tensors": {"x": [1]}}}'):
        assert call(page, "arrays/editor.js:arraysOf", text) == {"x": [1]}


@pytest.mark.parametrize("theme", THEMES)
def test_the_answer_can_be_read(page: Page, theme: Theme) -> None:
    """In either colour scheme no text is too faint, each control has a name, and a phone shows the page whole."""
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size(PHONE)
    open_model(page, SEVERAL)
    contrast = contrast_of(page)
    assert contrast["seen"] > 20
    assert contrast["found"] == []
    assert nameless_roles(page) == []
    assert width_of(page) <= PHONE["width"]
