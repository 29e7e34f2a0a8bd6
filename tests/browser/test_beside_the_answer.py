"""The timings, the curl command and the live charts."""

from __future__ import annotations

import json
import re
import subprocess

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.playground import ask, call, open_model, visit
from tests.live_server import LiveServer
from tests.programs import find_program

NASTY = 'it\'s "hello" $HOME `id` \\n %s !! # é 🐈 ; rm & | > *'

METRICS = r"""
# HELP unroll_requests_total Requests answered.
# TYPE unroll_requests_total counter
unroll_requests_total{model="a",task="x y",outcome="ok"} 12.0
unroll_requests_total{model="b\"}\\",task="t",outcome="ok"} 3 1700000000000 # {trace_id="1"} 1.0
unroll_requests_created{model="a"} 1.7e9
unroll_request_duration_seconds_bucket{le="+Inf",model="a"} +Inf
""".strip()


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


def test_metrics_are_read_with_labels_escapes_and_exemplars(page: Page) -> None:
    visit(page, "/")
    program = """async ([text, names]) => {
        const { samplesOf } = await import("/playground/panels/metrics_text.js");
        return samplesOf(text, new Set(names)).map(({ name, labels, value }) => [labels.model, String(value)]);
    }"""
    names = ["unroll_requests_total", "unroll_request_duration_seconds_bucket"]
    expected = [["a", "12"], ['b"}\\', "3"], ["a", "Infinity"]]
    assert page.evaluate(program, [METRICS, names]) == expected


def test_quantiles_are_those_of_prometheus(page: Page) -> None:
    """Quantiles equal those of Prometheus within a bucket, in the +Inf bucket and without observations."""
    visit(page, "/")
    program = """async (cases) => {
        const { quantile } = await import("/playground/panels/metrics_text.js");
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
    page.on("request", lambda request: looks.append(request.url) if request.url.endswith("/metrics") else None)
    with page.expect_response("**/metrics"):
        open_model(page, "tiny-classifier")
    for _ in range(4):
        httpx.post(f"http://127.0.0.1:{server.port}/predict", json={"model": "tiny-classifier", "inputs": "hello"})
    with page.expect_response("**/metrics"):
        page.clock.run_for(2000)
    live = page.get_by_role("region", name="Live metrics")
    expect(live).to_contain_text(re.compile(r"Requests(?!0\.0)\d+\.\d per second"))
    expect(live).to_contain_text(re.compile(r"Latencyp50 .* msp95 .* ms"))
    expect(live).to_contain_text(re.compile(r"Batch fill1\.0 per batch"))
    expect(live.get_by_role("img", name=re.compile("^Requests: .* per second"))).to_be_visible()
    set_hidden(page, True)
    seen = len(looks)
    page.clock.run_for(60_000)
    assert len(looks) == seen
    with page.expect_response("**/metrics"):
        set_hidden(page, False)
        page.clock.run_for(10)


def set_hidden(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        "is => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => is });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )
