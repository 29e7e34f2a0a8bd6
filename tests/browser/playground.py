"""Page helpers: the user actions that tests perform on the playground."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_MAX_RELOADS = 3


def open_model(page: Page, name: str) -> None:
    """Open the URL of a model, and wait until its first example is answered."""
    visit(page, f"/#{name}")
    expect(page.get_by_role("heading", level=2, name=name, exact=True)).to_be_visible()
    answer_of(page)


def visit(page: Page, address: str) -> None:
    """Open a URL, and retry if the navigation is aborted: Chromium aborts loading when a network interface of the
    machine appears or disappears, as happens when containers start and stop."""
    cut: list[str | None] = []
    page.on("requestfailed", lambda request: cut.append(request.failure))
    page.goto(address)
    for _ in range(_MAX_RELOADS):
        if _NETWORK_CHANGED not in cut:
            return
        cut.clear()
        page.reload()


def ask(page: Page, text: str) -> Locator:
    """Enter the text, submit it, and return the answer once it is complete."""
    page.locator("#input").fill(text)
    page.locator("button.run").click()
    return answer_of(page)


def answer_of(page: Page) -> Locator:
    """Return the answer section once the request has ended, successfully or not."""
    answers = page.locator(".answers")
    expect(answers).to_have_attribute("aria-busy", "false")
    return answers


def call(page: Page, script: str, *arguments: Any) -> Any:
    """Return the result of a function in a module of the page: `call(page, "requests/curl.js:shellQuoted", "a")`."""
    module, _, name = script.partition(":")
    program = "async ([module, name, given]) => (await import(`/playground/${module}`))[name](...given)"
    return page.evaluate(program, [module, name, list(arguments)])
