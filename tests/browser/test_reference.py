"""The reference of the API in a browser, under the security headers that it is served with."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, expect


def test_swagger_ui_sends_a_request(page: Page) -> None:
    """It shows every route, and a request can be sent from it: the policy blocks nothing that it needs."""
    page.goto("/docs")
    paths = page.request.get("/openapi.json").json()["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    route = page.locator("#operations-models-list_models")
    route.get_by_role("button", name="GET /models List the models").click()
    route.get_by_role("button", name="Try it out").click()
    route.get_by_role("button", name="Execute").click()
    expect(route.locator(".live-responses-table")).to_contain_text("tiny-tagger")


def test_redoc_shows_every_route(context: BrowserContext) -> None:
    """Nothing comes from elsewhere: the logo of its maker, which it would load, is blocked by the policy.

    Its search is a worker, made from a blob.
    """
    page, loaded = context.new_page(), list[str]()
    page.on("response", lambda response: loaded.append("{0.scheme}://{0.netloc}".format(urlsplit(response.url))))
    page.goto("/redoc")
    expect(page.get_by_role("heading", name="Continue a prompt, streamed")).to_be_visible()
    expect(page.get_by_role("heading", name="Describe one model")).to_be_visible()
    own = page.evaluate("location.origin")
    page.close()
    assert set(loaded) - {"blob://"} == {own}
