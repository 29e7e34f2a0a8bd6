"""Accessibility and security of the page: keyboard, screen reader, dark theme, small screens, and browser policies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import answer_of, ask, open_model, visit
from tests.browser.readable import PHONE, THEMES, Theme, contrast_of, named_parts, nameless_roles, width_of
from tests.live_server import LiveServer

TEXTS = {
    "tiny-tagger": "Ada lives in London with a cat",
    "tiny-classifier": "hello world\none two",
    "tiny-translator": "the cat sat",
    "tiny-generator": "Hello ",
    "tiny-parser": "Ada lives in London with a cat",
}


@pytest.fixture(scope="module", params=TEXTS)
def answered_page(request: pytest.FixtureRequest, context: BrowserContext) -> Iterator[Page]:
    """A page with a model's answer and all details expanded; tests change only its size and theme."""
    for page in watched_page(context):
        answer(page, request.param)
        yield page


def answer(page: Page, name: str) -> None:
    open_model(page, name)
    ask(page, TEXTS[name])
    for summary in page.locator("summary").all():
        summary.click()


@pytest.fixture
def dark_page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    yield from watched_page(new_context(browser, server, color_scheme="dark", reduced_motion="reduce"))


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out(answered_page: Page, theme: Theme) -> None:
    """All text, labels on coloured backgrounds included, has a contrast of at least 4.5."""
    answered_page.emulate_media(color_scheme=theme)
    measured = contrast_of(answered_page)
    assert measured["seen"] > 40
    assert measured["found"] == []


def test_everything_that_can_be_used_has_a_name_for_a_screen_reader(answered_page: Page) -> None:
    """Every control has an accessible name in the browser's accessibility tree."""
    named = named_parts(answered_page)
    roles = {role for role, _ in named}
    assert {"banner", "navigation", "main", "complementary", "status", "button", "textbox"} <= roles
    assert nameless_roles(answered_page) == []
    assert sum(role == "main" for role, _ in named) == 1


def test_a_phone_needs_no_scrolling_sideways(answered_page: Page) -> None:
    """The page does not scroll horizontally on a phone; wide content scrolls in its own frame."""
    answered_page.set_viewport_size(PHONE)
    assert width_of(answered_page) == PHONE["width"]


def test_a_refusal_stands_out_too(page: Page) -> None:
    open_model(page, "tiny-classifier")
    for text, alert in (("", ".field-error"), ("hello", ".alert")):
        ask(page, text)
        expect(page.locator(alert)).to_be_visible()
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            assert contrast_of(page)["found"] == []
        page.route("**/predict", lambda route: route.abort())


def test_all_of_it_works_without_a_pointer(page: Page) -> None:
    """The page is fully usable by keyboard, from the skip link to the model list, the answer and its words."""
    open_model(page, "tiny-classifier")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the input")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#input")).to_be_focused()
    page.locator("[aria-current=page]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="tiny-tagger")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2, name="tiny-tagger")).to_be_visible()
    expect(page.get_by_role("link", name="tiny-tagger")).to_be_focused()
    page.locator("#input").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("Ada lives")
    page.keyboard.press("Control+Enter")
    words = answer_of(page).get_by_role("option")
    expect(words).to_have_count(2)
    words.first.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    expect(page.locator(".readout")).to_contain_text("lives · ")
    page.keyboard.press("Home")
    expect(words.first).to_be_focused()


def test_focus_can_be_seen(page: Page) -> None:
    """Every focused element in the tab order has a visible outline."""
    answer(page, "tiny-translator")
    page.locator("#skip").focus()
    stops: list[str] = []
    while "Model card" not in stops:
        page.keyboard.press("Tab")
        text, style = page.locator(":focus").evaluate(
            "node => [node.ariaLabel ?? node.innerText, getComputedStyle(node).outlineStyle]"
        )
        assert style != "none", text
        stops.append(text)
    assert {"Switch to dark colours", "tiny-translator", "Translate", "Attention table", "Copy"} <= set(stops)


def test_the_words_of_a_translation_light_up_by_keyboard_too(page: Page) -> None:
    answer(page, "tiny-translator")
    target = page.get_by_role("listbox", name="Translation, in pieces").get_by_role("option")
    target.first.focus()
    page.keyboard.press("End")
    expect(target.last).to_have_attribute("aria-selected", "true")
    expect(page.locator(".heat tbody tr").last).to_have_class("is-lit")


def test_the_dark_theme_follows_the_system_and_the_choice_is_kept(dark_page: Page) -> None:
    """The theme follows the system setting, and an explicit choice is the only data that the page stores."""
    open_model(dark_page, "tiny-tagger")
    assert ground_of(dark_page) < 60
    dark_page.get_by_role("button", name="Switch to light colours").click()
    assert ground_of(dark_page) > 200
    dark_page.reload()
    assert ground_of(dark_page) > 200
    ask(dark_page, "a secret")
    assert dark_page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })") == '{"unroll-theme":"light"}'
    assert dark_page.evaluate("document.cookie") == ""


def ground_of(page: Page) -> int:
    """Return the red component of the page's background, 0 to 255."""
    red: int = page.evaluate("Number(getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/)[0])")
    return red


def test_nothing_moves_for_those_who_ask_for_that(dark_page: Page) -> None:
    open_model(dark_page, "tiny-generator")
    ask(dark_page, "Hello ")
    assert dark_page.evaluate("document.getAnimations().length") == 0
    assert dark_page.locator(".cursor").evaluate("node => getComputedStyle(node).animationName") == "none"


def test_the_browser_forbids_what_the_page_promises_not_to_do(browser: Browser, server: LiveServer) -> None:
    """The content security policy blocks inline scripts and requests to other origins."""
    page = new_context(browser, server).new_page()
    visit(page, "/")
    has_run = page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.hasRun = true';"
        " document.head.append(script); return window.hasRun ?? false; }"
    )
    went_out = page.evaluate("fetch('http://localhost:9/').then(() => 'answered', error => error.message)")
    violated = page.evaluate(
        "() => new Promise(tell => { addEventListener('securitypolicyviolation', event =>"
        " tell(event.effectiveDirective)); fetch('http://localhost:9/').catch(() => {}); })"
    )
    assert not has_run
    assert went_out == "Failed to fetch"
    assert violated == "connect-src"


def test_the_page_leads_to_the_documentation_the_models_and_the_metrics(page: Page) -> None:
    open_model(page, "tiny-tagger")
    links = page.get_by_role("navigation", name="Service links").get_by_role("link")
    for link in links.all():
        address = link.evaluate("node => node.href")
        assert page.request.get(address).ok
    assert links.count() == 3
