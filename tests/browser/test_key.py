"""The page of a service with API keys: it asks for one, sends it, keeps it in the tab, and shows it nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.access.key_makers import key, key_file, secret_of
from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import ask, open_model
from tests.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def guarded(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    path = key_file(tmp_path_factory.mktemp("keys"), key("person"), key("old", expires="2020-01-01"))
    with live_server(tiny_models, api_keys_file=path) as started:
        yield started


@pytest.fixture
def page(browser: Browser, guarded: LiveServer) -> Iterator[Page]:
    yield from watched_page(new_context(browser, guarded))


def give(page: Page, secret: str) -> None:
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Use this key").click()


def test_the_page_asks_for_a_key_and_works_with_it(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("alert")).to_contain_text("an API key is needed")
    give(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("is unknown")
    give(page, secret_of("old"))
    expect(page.get_by_role("alert")).to_contain_text("has expired")
    give(page, secret_of("person"))
    expect(page.locator("#readiness")).to_contain_text("models ready")
    open_model(page, "tiny-classifier")
    ask(page, "hello world")
    assert secret_of("person") not in page.content()
    page.reload()
    expect(page.locator("#readiness")).to_contain_text("models ready")
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.evaluate("localStorage.getItem('unroll-api-key')") is None
