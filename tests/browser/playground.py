"""The page as a reader handles it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_MAX_RELOADS = 3


def open_model(page: Page, name: str) -> None:
    """Go to a model's own address and wait until it can be asked."""
    visit(page, f"/#{name}")
    expect(page.get_by_role("heading", level=2, name=name, exact=True)).to_be_visible()


def visit(page: Page, address: str) -> None:
    """Go there. Chromium breaks off what it is loading when a network interface of the machine comes or goes, as they
    do beside containers; that says nothing about the page, which is then loaded again."""
    cut: list[str | None] = []
    page.on("requestfailed", lambda request: cut.append(request.failure))
    page.goto(address)
    for _ in range(_MAX_RELOADS):
        if _NETWORK_CHANGED not in cut:
            return
        cut.clear()
        page.reload()


def ask(page: Page, text: str) -> Locator:
    """Type, run, and return the answer once it is whole."""
    page.locator("#input").fill(text)
    page.locator("button.run").click()
    return answer_of(page)


def answer_of(page: Page) -> Locator:
    """The part with answers, once the request has come to its end, whatever end."""
    answers = page.locator(".answers")
    expect(answers).to_have_attribute("aria-busy", "false")
    return answers


def call(page: Page, script: str, *arguments: Any) -> Any:
    """What a function of one of the page's modules returns: `call(page, "requests/curl.js:shellQuoted", "a")`."""
    module, _, name = script.partition(":")
    program = "async ([module, name, given]) => (await import(`/playground/${module}`))[name](...given)"
    return page.evaluate(program, [module, name, list(arguments)])
