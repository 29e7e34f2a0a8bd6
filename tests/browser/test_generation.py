"""Streamed text generation: streaming, stopping and continuing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.playground import answer_of, ask, call, open_model, visit
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer

MODEL = "tiny-generator"


class Gate:
    """Blocks runs of a graph until the test permits them. Open until `let`: a page that opens sends an example."""

    def __init__(self) -> None:
        self._runs = threading.Semaphore(0)
        self._is_open = True

    def let(self, num_runs: int) -> None:
        """Let only so many more runs pass."""
        self._is_open = False
        self._runs.release(num_runs)

    def open_until(self, condition: Callable[[], bool]) -> None:
        """Let all runs pass until the condition holds, then discard the unused permits."""
        self._is_open = True
        self._runs.release()
        wait_until(condition)
        self._is_open = False
        while self._runs.acquire(blocking=False):
            pass

    def guarding(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            if not self._is_open:
                self._runs.acquire(timeout=PATIENCE_S)
            return run(*arguments)

        return guarded


@pytest.fixture
def gate(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Gate:
    runner = server.engine(MODEL).opened.runner
    gate = Gate()
    monkeypatch.setattr(runner, "run", gate.guarding(runner.run))
    return gate


def set_up(page: Page, num_tokens: int, seed: str = "5", temperature: str = "1") -> None:
    open_model(page, MODEL)
    page.get_by_label("Tokens", exact=True).fill(str(num_tokens))
    page.get_by_label("Seed").fill(seed)
    page.get_by_label("Temperature").fill(temperature)


def begin(page: Page, prompt: str) -> None:
    """Submit and wait for the first token."""
    page.locator("#input").fill(prompt)
    page.locator("button.run").click()
    expect(written(page)).not_to_be_empty()


def written(page: Page) -> Locator:
    return page.locator(".written")


def generated(server: LiveServer, prompt: str, **parameters: object) -> str:
    """Return the service's answer to the same request without streaming."""
    body = {"model": MODEL, "inputs": prompt, "parameters": parameters}
    text: str = httpx.post(f"http://127.0.0.1:{server.port}/generate", json=body).json()["generated_text"]
    return text


def cancelled(server: LiveServer) -> float:
    """Return how many texts clients have cancelled."""
    return server.metric("unroll_slot_leaves_total", model=MODEL, reason="cancelled")


def cancelled_requests(server: LiveServer) -> float:
    """Return how many requests were cancelled, including those that still occupy a slot."""
    return server.metric("unroll_requests_total", model=MODEL, task="generation", outcome="cancelled")


def test_a_streamed_text_is_the_text_that_the_service_writes(page: Page, server: LiveServer) -> None:
    """A streamed text equals the service's own, so prompt, sliders and seed are all sent."""
    set_up(page, 25, temperature="0.8")
    answer = ask(page, "Hello ")
    expected = generated(server, "Hello ", max_new_tokens=25, seed=5, temperature=0.8, top_p=0.95)
    assert written(page).text_content() == expected
    assert expected != generated(server, "Hello ", max_new_tokens=25, seed=5, temperature=1.6, top_p=0.95)
    expect(answer.locator(".prompt")).to_have_text("Hello ")
    expect(answer.locator(".note")).to_have_text("25 tokens: token limit reached.")
    for fact in ("tokens/s", "time to first token", "prompt"):
        expect(answer.locator(".receipt-facts")).to_contain_text(fact)


def test_at_temperature_zero_nothing_is_drawn(page: Page, server: LiveServer) -> None:
    set_up(page, 12, temperature="0")
    answer = ask(page, "a cat ")
    assert written(page).text_content() == generated(server, "a cat ", max_new_tokens=12)
    expect(answer.locator(".receipt-facts")).not_to_contain_text("seed")


def test_without_a_seed_the_page_draws_one_and_says_which(page: Page, server: LiveServer) -> None:
    """Without a seed the page draws one and shows it, so that the text can be reproduced."""
    set_up(page, 20, seed="")
    answer = ask(page, "Hello ")
    seed = int(answer.locator(".receipt-facts div", has_text="seed").locator("dd").inner_text())
    text = generated(server, "Hello ", max_new_tokens=20, seed=seed, do_sample=True, temperature=1.0, top_p=0.95)
    assert written(page).text_content() == text


def test_a_continued_text_is_the_text_that_would_have_come_in_one_run(page: Page, server: LiveServer) -> None:
    set_up(page, 10)
    ask(page, "Hello ")
    for length in (20, 30):
        page.get_by_role("button", name="Continue").click()
        answer_of(page)
        expected = generated(server, "Hello ", max_new_tokens=length, seed=5, do_sample=True, top_p=0.95)
        assert written(page).text_content() == expected


def test_a_stopped_text_frees_its_place_in_the_service(page: Page, server: LiveServer, gate: Gate) -> None:
    """Stopping keeps the text written so far, frees the slot, and enables the form for the next request."""
    before, requests_before = cancelled(server), cancelled_requests(server)
    set_up(page, 30)
    gate.let(4)
    begin(page, "Hello ")
    expect(page.locator(".answers")).to_have_attribute("aria-busy", "true")
    wait_until(lambda: server.metric("unroll_slots_in_use", model=MODEL) == 1)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".status")).to_have_text("Stopped.")
    wait_until(lambda: cancelled_requests(server) == requests_before + 1)
    gate.open_until(lambda: server.metric("unroll_slots_in_use", model=MODEL) == 0)
    assert 0 < len(written(page).text_content() or "") < 30
    assert cancelled(server) == before + 1
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    expect(page.locator("button.run")).to_be_focused()


@pytest.mark.parametrize(("lengths", "num_in_state"), [((3, 6), 0), ((18, 22), 16)])
def test_a_stopped_text_goes_on_as_if_it_had_not_been_stopped(
    page: Page, server: LiveServer, gate: Gate, lengths: tuple[int, int], num_in_state: int
) -> None:
    """A stopped text continues as if uninterrupted, also after two stops and before the first state has arrived."""
    set_up(page, 30)
    page.locator("#input").fill("Hello ")
    button, num_there = page.locator("button.run"), 0
    for length in lengths:
        gate.let(length - num_there + 2)
        button.click()
        page.wait_for_function("length => document.querySelector('.written')?.textContent.length >= length", arg=length)
        page.get_by_role("button", name="Stop").click()
        expect(answer_of(page).locator(".note")).to_have_text(re.compile(r"^Stopped after \d+ tokens\.$"))
        gate.open_until(lambda: server.metric("unroll_slots_in_use", model=MODEL) == 0)
        button, num_there = page.get_by_role("button", name="Continue"), num_in_state
    gate.let(100)
    button.click()
    expect(page.locator(".answer .note")).to_have_text(re.compile("token limit reached"))
    assert written(page).text_content() == generated(server, "Hello ", max_new_tokens=30, seed=5, top_p=0.95)
    gate.let(100)
    button.click()
    expect(page.locator(".answer .note")).to_have_text("30 tokens: token limit reached.")


def test_leaving_for_another_model_stops_the_text(page: Page, server: LiveServer, gate: Gate) -> None:
    before, requests_before = cancelled(server), cancelled_requests(server)
    set_up(page, 30)
    gate.let(4)
    begin(page, "Hello ")
    page.get_by_role("link", name="tiny-tagger").click()
    wait_until(lambda: cancelled_requests(server) == requests_before + 1)
    gate.open_until(lambda: cancelled(server) == before + 1)
    expect(page.get_by_role("heading", level=2, name="tiny-tagger")).to_be_visible()


def test_a_refused_parameter_is_marked_at_its_control(page: Page) -> None:
    """A rejected parameter is marked as invalid at its control until the next request."""
    set_up(page, 31)
    ask(page, "Hello ")
    control = page.get_by_label("Tokens", exact=True)
    expect(control).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-field=max_new_tokens]").get_by_role("alert")).to_contain_text("30")
    control.fill("3")
    ask(page, "Hello ")
    expect(page.locator(".field-error")).to_have_count(0)


def test_a_stream_that_fails_midway_keeps_its_text_and_says_what_failed(
    page: Page, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = server.engine(MODEL).opened.runner
    run, runs = runner.run, iter(range(100))

    def failing(*arguments: Any) -> Any:
        if next(runs) == 8:
            raise RuntimeError("the graph broke")
        return run(*arguments)

    set_up(page, 30)
    monkeypatch.setattr(runner, "run", failing)
    answer = ask(page, "Hello ")
    expect(answer.get_by_role("alert")).to_contain_text("failed")
    assert 0 < len(written(page).text_content() or "") < 30
    page.get_by_role("button", name="Continue").click()
    expect(answer_of(page).get_by_role("alert")).to_have_count(0)
    assert written(page).text_content() == generated(server, "Hello ", max_new_tokens=30, seed=5, top_p=0.95)


def test_events_are_found_however_the_network_cuts_them(page: Page) -> None:
    """Complete server-sent events are parsed, and an incomplete one stays in the buffer."""
    visit(page, "/")
    cases = {
        'data:{"a":1}\n\ndata: {"b"': [['{"a":1}'], 'data: {"b"'],
        "data:1\r\n\r\n": [["1"], ""],
        ": a comment\n\ndata:1\ndata:2\n\n": [["1\n2"], ""],
        "": [[], ""],
    }
    for buffer, expected in cases.items():
        assert call(page, "requests/event_stream.js:takeEvents", buffer) == expected
