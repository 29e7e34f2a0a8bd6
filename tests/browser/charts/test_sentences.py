"""The page draws one sentence of a text at a time, and has the CoNLL-U of all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.playground import ask, open_model
from tests.browser.readable import PHONE, width_of
from tests.live_server import LiveServer, live_server
from tests.tasks.parsing.tiny_text_parser import MODEL, write_text_parser

TEXT = "Ada lives du mat. The cat sat on a mat. " + "hello " * 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("texts") / "models"
    write_text_parser(models)
    with live_server(models) as started:
        yield started


def test_the_chosen_sentence_is_drawn(page: Page) -> None:
    """The first at first, with heads within it; another one by the list; CoNLL-U has all; a phone stays narrow."""
    page.set_viewport_size(PHONE)
    open_model(page, MODEL)
    answer = ask(page, TEXT)
    choice = answer.get_by_role("combobox", name="Sentence")
    names = choice.locator("option").all_inner_texts()
    assert names[:2] == ["1. Ada lives de le mat.", "2. The cat sat on a mat."]
    assert len(names[2]) < 70
    words = answer.locator(".arc-text")
    expect(words).to_have_text(["Ada", "lives", "de", "le", "mat."])
    choice.select_option(index=1)
    expect(words).to_have_text(["The", "cat", "sat", "on", "a", "mat."])
    expect(answer.locator(".arc.is-root")).to_have_count(1)
    answer.locator(".arc-word").first.focus()
    expect(answer.locator(".readout")).to_contain_text("The · ")
    assert answer.locator(".conllu").evaluate("node => node.textContent").count("# text = ") == 3
    assert width_of(page) == PHONE["width"]


def test_one_sentence_needs_no_choice(page: Page) -> None:
    """As with a model that cuts no text."""
    open_model(page, MODEL)
    answer = ask(page, "hello")
    expect(answer.get_by_role("combobox", name="Sentence")).to_be_hidden()
    expect(answer.locator(".arc-text")).to_have_text(["hello"])
