"""The page draws dependency trees: arcs, words by keyboard, a table, and CoNLL-U to copy or save."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.playground import answer_of, ask, open_model
from tests.browser.readable import PHONE, width_of
from tests.live_server import LiveServer

MODEL = "tiny-parser"
TEXT = "Ada lives in London with a cat"
#: Character width of labels in the tests of the layout.
CHARACTER = 7


@pytest.fixture
def parsed(page: Page, server: LiveServer) -> tuple[Locator, list[dict[str, Any]]]:
    """The answer on the page, and the words of the service's own."""
    open_model(page, MODEL)
    return ask(page, TEXT), prediction(server, TEXT)["tokens"]


def prediction(server: LiveServer, text: str) -> dict[str, Any]:
    body = {"model": MODEL, "inputs": text, "parameters": {"conllu": True}}
    answer = httpx.post(f"http://127.0.0.1:{server.port}/predict", json=body).json()
    found: dict[str, Any] = answer["predictions"][0]
    return found


def test_every_word_has_one_arc_with_its_relation(parsed: tuple[Locator, list[dict[str, Any]]]) -> None:
    """Arcs are labelled with the relations, one is that of the root, and a screen reader hears heads with the words."""
    answer, tokens = parsed
    arcs = answer.locator(".arc")
    expect(arcs.locator(".arc-label")).to_have_text([token["relation"] for token in tokens])
    expect(answer.locator(".arc.is-root")).to_have_count(1)
    words = answer.get_by_role("listbox", name="Words and their heads").get_by_role("option")
    names = words.evaluate_all("words => words.map(word => word.ariaLabel)")
    heads = ["the sentence" if token["head"] is None else tokens[token["head"]]["text"] for token in tokens]
    assert names == [
        f"{token['text']}, {token['tag']}, {token['relation']} of {head}"
        for token, head in zip(tokens, heads, strict=True)
    ]


def test_an_arrow_points_at_the_dependent(parsed: tuple[Locator, list[dict[str, Any]]]) -> None:
    """The tip of an arc is over its word, nearer to it than to any other."""
    answer, tokens = parsed
    tips, words = (
        answer.locator(f".arcs {name}").evaluate_all(
            "nodes => nodes.map(node => node.getBoundingClientRect()).map(({ left, width }) => left + width / 2)"
        )
        for name in (".arc-tip", ".arc-text")
    )
    nearest = [min(range(len(words)), key=lambda word: abs(words[word] - tip)) for tip in tips]
    assert nearest == list(range(len(tokens)))


def test_a_word_shows_its_head_and_its_dependents(page: Page, parsed: tuple[Locator, list[dict[str, Any]]]) -> None:
    """By keyboard, and by pointing."""
    answer, tokens = parsed
    words = answer.get_by_role("option")
    words.first.focus()
    page.keyboard.press("End")
    expect(words.last).to_be_focused()
    place = len(tokens) - 1
    head = tokens[place]["head"]
    near = [other for other, token in enumerate(tokens) if other == head or token["head"] == place]
    expect(answer.locator(".arc-word.is-near")).to_have_count(len(near))
    lit = [token for word, token in enumerate(tokens) if place in (word, token["head"])]
    expect(answer.locator(".arc.is-lit")).to_have_count(len(lit))
    expect(answer.locator(".readout")).to_contain_text(f"cat · lemma {tokens[place]['lemma']} · {tokens[place]['tag']}")
    words.nth(1).hover()
    expect(words.nth(1)).to_have_attribute("aria-selected", "true")
    expect(answer.locator(".readout")).to_contain_text("lives · ")


def test_a_long_sentence_scrolls_within_its_box(page: Page) -> None:
    """On a phone the page stays as narrow as it is, and a word that gets the focus comes into view."""
    page.set_viewport_size(PHONE)
    open_model(page, MODEL)
    answer = ask(page, "the cat sat on a mat " * 6)
    assert width_of(page) == PHONE["width"]
    box = answer.locator(".arcs-scroll").first
    assert box.evaluate("node => node.scrollWidth > 2 * node.clientWidth")
    words = answer.get_by_role("option")
    words.first.focus()
    page.keyboard.press("End")
    expect(words.last).to_be_focused()
    expect(words.last).to_be_in_viewport()
    assert box.evaluate("node => node.scrollLeft") > 0


def test_the_table_says_what_the_arcs_say(parsed: tuple[Locator, list[dict[str, Any]]]) -> None:
    answer, tokens = parsed
    answer.locator("summary", has_text="As a table").click()
    rows = answer.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    heads = [
        "root" if token["head"] is None else f"{token['head'] + 1} {tokens[token['head']]['text']}" for token in tokens
    ]
    assert [row[:6] for row in rows] == [
        [str(number), token["text"], token["lemma"], token["tag"], token["relation"], head]
        for number, (token, head) in enumerate(zip(tokens, heads, strict=True), start=1)
    ]


def test_the_sentence_can_be_saved_as_conllu(page: Page, server: LiveServer, tmp_path: Path) -> None:
    """What is shown and saved is the CoNLL-U of the service, whatever signs the text has."""
    text = 'The "cat" <b>sat</b> & Ada 🐈.'
    open_model(page, MODEL)
    answer = ask(page, text)
    expected = prediction(server, text)["conllu"]
    answer.locator("summary", has_text="As CoNLL-U").click()
    assert answer.locator(".conllu").evaluate("node => node.textContent") == expected
    with page.expect_download() as download:
        answer.get_by_role("button", name="Save as a file").click()
    assert download.value.suggested_filename == "sentence.conllu"
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_text(encoding="utf-8") == expected


def test_one_word_is_a_tree(page: Page) -> None:
    open_model(page, MODEL)
    ask(page, "cat")
    expect(answer_of(page).locator(".arc.is-root")).to_have_count(1)
    expect(answer_of(page).get_by_role("option")).to_have_count(1)


def random_tree(random: np.random.Generator, size: int) -> list[dict[str, Any]]:
    """A tree whose arcs may cross."""
    order = random.permutation(size).tolist()
    heads: dict[int, int | None] = {order[0]: None}
    heads |= {word: order[int(random.integers(place))] for place, word in enumerate(order) if place}
    relations = ("det", "nsubj", "acl:relcl", "obl:lmod:extra")
    return [{"head": heads[word], "relation": relations[int(random.integers(4))]} for word in range(size)]


_LAYOUT = """async ([tokens, widths, character]) => {
    const { arcLayout } = await import("/playground/charts/arc_layout.js");
    return arcLayout(tokens, widths, (label) => label.length * character);
}"""


def test_arcs_words_and_labels_have_room(page: Page) -> None:
    """No two words touch, no two arcs that overlap have one height, labels fit their arcs, and words the picture."""
    open_model(page, MODEL)
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 12, 12, 60):
        tokens, widths = random_tree(random, size), random.integers(8, 90, size=size).tolist()
        drawn = page.evaluate(_LAYOUT, [tokens, widths, CHARACTER])
        words = list(zip(drawn["centres"], widths, strict=True))
        assert all(left + (one + other) / 2 < right for (left, one), (right, other) in pairwise(words))
        assert words[0][0] - widths[0] / 2 >= 0
        assert words[-1][0] + widths[-1] / 2 <= drawn["width"]
        arcs = [arc for arc in drawn["arcs"] if arc["head"] is not None]
        assert all(arc["right"] - arc["left"] > CHARACTER * len(arc["label"]) for arc in arcs)
        levels: dict[int, list[tuple[float, float]]] = {}
        for arc in arcs:
            levels.setdefault(arc["level"], []).append((arc["left"], arc["right"]))
        for lines in levels.values():
            assert all(one[1] < other[0] for one, other in pairwise(sorted(lines)))
        legs = sorted(place for arc in drawn["arcs"] for place in {arc["left"], arc["right"]})
        assert all(one < other for one, other in pairwise(legs))
