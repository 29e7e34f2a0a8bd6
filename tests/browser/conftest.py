"""Fixtures that run Chromium against a live service with tiny bundles.

Every test also fails on a script error in its page and on a request to any other host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect, sync_playwright

from tests.browser.signal_models import write_signal_models
from tests.live_server import LiveServer, live_server
from tests.programs import find_program

_NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a microphone that beeps once per second
)
_TIMEOUT_MS = 60_000
expect.set_options(timeout=_TIMEOUT_MS)
#: Chromium logs a console error for each refused request and lost connection, which tests provoke on purpose.
_PROVOKED = re.compile(r"^Failed to load resource: ")


def chromium_of(playwright: Playwright) -> str:
    """Launch Playwright's Chromium or the system's; skip the test if there is none."""
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else find_program(*_NAMES)


# Module scope instead of session scope: Playwright runs an event loop in the main thread until it is closed, and
# other tests start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        flags = [*_FLAGS, "--no-sandbox"] if is_root else list(_FLAGS)
        browser = playwright.chromium.launch(executable_path=chromium_of(playwright), args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def signal_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with audio, sensor, series, image and clip inputs."""
    return write_signal_models(tmp_path_factory.mktemp("signals") / "models")


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture(scope="module")
def context(browser: Browser, server: LiveServer) -> Iterator[BrowserContext]:
    """Browser context of a module, with a shared cache; tests that change shared state use `own_page`."""
    context = new_context(browser, server)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A blank page whose relative URLs refer to the service."""
    yield from watched_page(context)


@pytest.fixture
def own_page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    """A page in its own browser context."""
    yield from watched_page(new_context(browser, server))


def new_context(browser: Browser, server: LiveServer, **options: Any) -> BrowserContext:
    context = browser.new_context(base_url=f"http://127.0.0.1:{server.port}", **options)
    context.set_default_timeout(_TIMEOUT_MS)
    return context


def watched_page(context: BrowserContext) -> Iterator[Page]:
    """Fail at teardown on any page error that the test did not expect."""
    page = context.new_page()
    problems: list[str] = []
    origins: set[str] = set()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _PROVOKED.match(message.text):
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: origins.add("{0.scheme}://{0.netloc}".format(urlsplit(request.url))))
    yield page
    own = page.evaluate("location.origin")
    page.close()
    assert not problems
    assert origins == {own}
