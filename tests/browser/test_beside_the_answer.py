"""The timings, the curl command and the live charts."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import ask, call, open_model, visit
from tests.live_server import LiveServer, live_server
from tests.programs import find_program
from tests.tiny_bundles import copy_bundle

NASTY = 'it\'s "hello" $HOME `id` \\n %s !! # é 🐈 ; rm & | > *'


def run_in_shell(command: str) -> str:
    find_program("curl")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def test_timings_and_request_id_are_those_of_the_answer(page: Page) -> None:
    open_model(page, "tiny-classifier")
    with page.expect_response("**/predict") as response:
        answer = ask(page, "hello world")
    timings = response.value.json()["timings"]
    facts = answer.locator(".receipt-facts")
    expect(facts).to_contain_text(response.value.headers["x-request-id"])
    expect(facts.locator("div", has_text="batch size").locator("dd")).to_have_text(str(timings["batch_size"]))
    stages = ["preprocess", "queue", "inference", "postprocess"]
    shown = answer.locator(".stage").evaluate_all(
        "stages => stages.map(stage => Number(stage.style.getPropertyValue('--share')))"
    )
    assert shown[:4] == [timings[f"{stage}_ms"] for stage in stages]
    assert sum(shown) == pytest.approx(timings["total_ms"], abs=0.01)
    expect(answer.get_by_role("img", name=re.compile("^Time: preprocess .* postprocess "))).to_be_visible()


def test_the_curl_command_gives_the_same_answer_from_a_shell(page: Page) -> None:
    """The curl command returns the same answer from a shell for quotes, variables, backticks and non-ASCII text."""
    open_model(page, "tiny-tagger")
    page.get_by_label("One text per line").check()
    with page.expect_response("**/predict") as response:
        answer = ask(page, f"{NASTY}\nhello")
    again = json.loads(run_in_shell(answer.locator(".command").text_content() or ""))
    assert again["predictions"] == response.value.json()["predictions"]
    assert len(again["predictions"]) == 2


def test_the_curl_command_of_a_stream_writes_the_same_text(page: Page) -> None:
    """The curl command of a stream returns the same text, also for a request that resumes from a state."""
    open_model(page, "tiny-generator")
    page.get_by_label("Tokens", exact=True).fill("10")
    ask(page, "it's\n")
    begun = page.locator(".written").text_content() or ""
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".written")).not_to_have_text(begun)
    answer = page.locator(".answers")
    expect(answer).to_have_attribute("aria-busy", "false")
    events = run_in_shell(answer.locator(".command").text_content() or "").strip().split("\n\n")
    text = json.loads(events[-1].removeprefix("data:"))["generated_text"]
    assert page.locator(".written").text_content() == begun + text


def test_the_command_can_be_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_model(page, "tiny-tagger")
    answer = ask(page, NASTY)
    answer.get_by_role("button", name="Copy").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == answer.locator(".command").text_content()
    assert copied.startswith("curl -s 'http://127.0.0.1:")


def test_quantiles_are_those_of_prometheus(page: Page) -> None:
    """Quantiles equal those of Prometheus within a bucket, in the +Inf bucket and without observations."""
    visit(page, "/")
    program = """async (cases) => {
        const { quantile } = await import("/playground/panels/traffic.js");
        return cases.map(([share, buckets]) =>
            quantile(share, buckets.map(([bound, count]) => [bound ?? Infinity, count])));
    }"""
    buckets = [[1, 0], [2, 10], [4, 20], [None, 20]]
    cases = [[0.5, buckets], [0.25, buckets], [0.75, buckets], [0.9, [[1, 1], [None, 10]]], [0.5, [[1, 0], [None, 0]]]]
    assert page.evaluate(program, cases) == [2, 1.5, 3, 1, None]


def test_a_gap_in_a_chart_is_no_zero(page: Page) -> None:
    """Missing values break the line of a chart, and a value between two gaps is drawn as a dot."""
    visit(page, "/")
    path = call(page, "charts/line_chart.js:pathOf", [1, 2, None, 2, None], 2, 5)
    assert re.findall("[MLh]", path) == ["M", "L", "M", "h"]
    assert path.startswith("M0.0 ")


def test_the_charts_follow_the_service_and_rest_while_nobody_looks(own_page: Page, server: LiveServer) -> None:
    page = own_page
    page.clock.install()
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url))
    with page.expect_response("**/playground-traffic"):
        open_model(page, "tiny-classifier")
    for _ in range(4):
        httpx.post(f"http://127.0.0.1:{server.port}/predict", json={"model": "tiny-classifier", "inputs": "hello"})
    with page.expect_response("**/playground-traffic"):
        page.clock.run_for(2000)
    live = page.get_by_role("region", name="Live metrics")
    expect(live).to_contain_text(re.compile(r"Requests(?!0\.0)\d+\.\d per second"))
    expect(live).to_contain_text(re.compile(r"Latencyp50 .* msp95 .* ms"))
    expect(live).to_contain_text(re.compile(r"Batch fill1\.0 per batch"))
    expect(live.get_by_role("img", name=re.compile("^Requests: .* per second"))).to_be_visible()
    set_hidden(page, True)
    seen = len(looks)
    page.clock.run_for(60_000)
    assert not [url for url in looks[seen:] if url.endswith("/playground-traffic")]
    with page.expect_response("**/playground-traffic"):
        set_hidden(page, False)
        page.clock.run_for(10)


def set_hidden(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        "is => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => is });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )


def test_the_charts_are_shown_once_there_is_traffic(browser: Browser, tiny_models: Path, tmp_path: Path) -> None:
    """The live charts are hidden until the service has answered a request."""
    (copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path) / "classifier.onnx").unlink()
    with live_server(tmp_path, lanes=1) as server:
        for page in watched_page(new_context(browser, server)):
            with page.expect_response("**/playground-traffic"):
                open_model(page, "tiny-classifier")
            page.wait_for_event("response", lambda response: response.url.endswith("/playground-traffic"))
            live = page.locator("#live")
            expect(live).to_be_hidden()
            ask(page, '"hello"')
            expect(live).to_be_visible()


def program_of(answer: Locator, language: str) -> str:
    """The request as a program in the language."""
    answer.get_by_role("button", name=language).click()
    return answer.locator(".command").text_content() or ""


def run_python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def run_javascript(page: Page, program: str) -> list[Any]:
    """Run the program in the page, and return what it logs."""
    logged: list[Any] = page.evaluate(
        "async () => { const logged = []; const console = { log: value => logged.push(value) };"
        f"{program}; return logged; }}"
    )
    return logged


def test_the_programs_give_the_same_answer(page: Page) -> None:
    """The request in Python and in JavaScript returns the same answer, for quotes, line breaks and non-ASCII text."""
    open_model(page, "tiny-tagger")
    with page.expect_response("**/predict") as response:
        answer = ask(page, f"{NASTY}\nhello")
    predictions = response.value.json()["predictions"]
    assert ast.literal_eval(run_python(program_of(answer, "Python")))["predictions"] == predictions
    (again,) = run_javascript(page, program_of(answer, "JavaScript"))
    assert again["predictions"] == predictions


def test_the_programs_print_a_stream_as_it_arrives(page: Page) -> None:
    """Without the special token of a text that came to its end, which most of so many tokens do."""
    open_model(page, "tiny-generator")
    page.get_by_label("Tokens", exact=True).fill("30")
    answer = ask(page, "it's\n")
    written = page.locator(".written").text_content()
    assert run_python(program_of(answer, "Python")) == written
    assert "".join(run_javascript(page, program_of(answer, "JavaScript"))) == written


def test_the_model_card_is_rendered(page: Page) -> None:
    open_model(page, "tiny-tagger")
    page.get_by_text("Model card").click()
    expect(page.locator(".card-text").get_by_role("heading").first).to_be_visible()


def test_many_models_can_be_filtered(page: Page) -> None:
    """More than eight models have a filter by name and task, which hides empty groups."""

    def many(route: Route) -> None:
        answer = route.fetch()
        models = answer.json()["models"]
        more = [{**models[0], "name": f"more-{index}", "is_default": True} for index in range(9)]
        route.fulfill(response=answer, json={"models": [*models, *more]})

    page.route(re.compile("/models$"), many)
    open_model(page, "tiny-tagger")
    links = page.get_by_role("navigation", name="Models").get_by_role("link")
    everyone = links.count()
    page.get_by_label("Filter models").fill("GENER")
    expect(links).to_have_text(["tiny-generator"])
    expect(page.get_by_role("navigation", name="Models").get_by_role("heading")).to_have_text(["generation"])
    page.get_by_label("Filter models").fill("")
    expect(links).to_have_count(everyone)
