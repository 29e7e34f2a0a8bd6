"""The page renders the answers of every task without streaming."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import answer_of, ask, open_model, visit
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import copy_bundle, write_tiny_bundle


def predicted(server: LiveServer, **body: object) -> list[dict[str, object]]:
    """Return the service's own answer to the request."""
    answer = httpx.post(f"http://127.0.0.1:{server.port}/predict", json=body)
    predictions: list[dict[str, object]] = answer.json()["predictions"]
    return predictions


def test_the_models_stand_by_task_and_each_has_an_address(page: Page) -> None:
    """Models are grouped by task, a click opens the URL of a model, and the Back button returns to the previous one."""
    open_model(page, "tiny-tagger")
    models = page.get_by_role("navigation", name="Models")
    expect(models.get_by_role("heading")).to_have_text(
        ["classification", "generation", "parsing", "tagging", "translation"]
    )
    models.get_by_role("link", name="tiny-classifier").click()
    expect(page.get_by_role("heading", level=2, name="tiny-classifier")).to_be_visible()
    expect(models.locator("[aria-current=page]")).to_have_text("tiny-classifier")
    page.go_back()
    expect(page.get_by_role("heading", level=2, name="tiny-tagger")).to_be_visible()


def test_an_older_version_has_its_own_address_and_is_the_one_that_is_asked(
    browser: Browser, tiny_models: Path, tmp_path: Path
) -> None:
    copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    write_tiny_bundle(tmp_path, "classification", version="2", seed=4)
    with live_server(tmp_path, lanes=1) as server:
        for page in watched_page(new_context(browser, server)):
            open_model(page, "tiny-classifier")
            expect(page.locator(".eyebrow")).to_have_text("classification · version 2")
            page.get_by_role("link", name="version 1").click()
            expect(page.locator(".eyebrow")).to_have_text("classification · version 1")
            page.reload()
            label = ask(page, "hello").locator(".bar-label").first.inner_text()
            assert label == predicted(server, model="tiny-classifier", version="1", inputs="hello")[0]["label"]
            assert page.url.endswith("#tiny-classifier/1")


def test_a_models_facts_and_examples_are_its_own(page: Page) -> None:
    open_model(page, "tiny-tagger")
    facts = page.get_by_role("region", name="About this model")
    expect(facts).to_contain_text(re.compile(r"f1\s*50\.0\s*25\.0"))
    expect(facts).to_contain_text("40 tokens")
    page.locator("#input").fill("")
    page.get_by_role("button", name="Ada lives in London").click()
    expect(page.locator("#input")).to_have_value("Ada lives in London")
    expect(answer_of(page).locator(".word")).to_have_text(["Ada", "lives", "in", "London"])


def test_the_page_opens_with_an_answer(page: Page) -> None:
    """The address of the service opens a ready model whose first example is already answered."""
    visit(page, "/")
    expect(page.get_by_role("heading", level=2, name="tiny-tagger", exact=True)).to_be_visible()
    expect(page.locator(".answers .word").first).to_be_visible()
    expect(page.locator(".intro")).to_contain_text("Try the recurrent sequence models of this service")


def test_a_legend_names_the_colours_of_the_answer(page: Page, server: LiveServer) -> None:
    text = "Ada sat in London with Ada"
    open_model(page, "tiny-tagger")
    answer = ask(page, text)
    (prediction,) = predicted(server, model="tiny-tagger", inputs=text)
    counts = Counter(span["label"] for span in prediction["spans"])  # type: ignore[attr-defined]
    assert counts
    shown = answer.get_by_role("list", name="Colours").get_by_role("listitem")
    expect(shown).to_have_text([f"{label} × {count}" for label, count in sorted(counts.items())])
    hue = "node => getComputedStyle(node).getPropertyValue('--hue')"
    assert shown.first.evaluate(hue) in answer.locator(".span").evaluate_all(f"spans => spans.map({hue})")


def test_a_tagger_shows_the_very_text_with_a_label_and_score_at_each_span(page: Page, server: LiveServer) -> None:
    """A tagger shows the input text with label and score of each span, also after non-BMP characters."""
    text = "The 🐈 cat,  sat on Ada 🐈🐈 in London !"
    open_model(page, "tiny-tagger")
    answer = ask(page, text)
    (prediction,) = predicted(server, model="tiny-tagger", inputs=text)
    spans = prediction["spans"]
    assert isinstance(spans, list)
    assert spans, "these weights give spans"
    shown = answer.locator(".span")
    assert shown.count() == len(spans)
    assert shown.locator(".tag").all_inner_texts() == [f"{span['label']} {percent(span['score'])}" for span in spans]
    without_tags = answer.locator(".sentence").evaluate(
        "node => { const copy = node.cloneNode(true); copy.querySelectorAll('.tag').forEach(tag => tag.remove());"
        " return copy.textContent; }"
    )
    assert text.startswith(without_tags)
    assert without_tags.endswith("!")


def percent(score: float) -> str:
    """Format a share as the page does."""
    if 0.9995 <= score < 1:
        return "> 99.9 %"
    return f"{score * 100:.{1 if 0 < score < 0.0995 or 0.99 < score < 1 else 0}f} %"


def test_a_word_tells_its_tag_to_the_pointer_and_the_table_tells_all(page: Page, server: LiveServer) -> None:
    open_model(page, "tiny-tagger")
    answer = ask(page, "the cat sat")
    (prediction,) = predicted(server, model="tiny-tagger", inputs="the cat sat")
    token = prediction["tokens"][1]  # type: ignore[index]
    answer.get_by_role("option").nth(1).hover()
    expect(answer.locator(".readout")).to_contain_text(f"cat · {token['tag']} · ")
    answer.get_by_text("As a table").click()
    expect(answer.get_by_role("row")).to_have_count(4)


def test_a_classifier_shows_as_many_bars_as_asked_for_longest_first(page: Page) -> None:
    open_model(page, "tiny-classifier")
    page.get_by_label("Labels shown").fill("2")
    answer = ask(page, "hello world")
    widths = [box["width"] for bar in answer.locator(".bar").all() if (box := bar.bounding_box())]
    assert len(widths) == 2
    assert widths == sorted(widths, reverse=True)
    expect(answer.locator(".bar-score").first).to_have_text(re.compile(r"^\d+(\.\d)? %$"))


def test_line_breaks_stay_in_a_text(page: Page) -> None:
    open_model(page, "tiny-classifier")
    with page.expect_request("**/predict") as request:
        answer = ask(page, "hello\n\nworld\n")
    assert request.value.post_data_json["inputs"] == "hello\n\nworld\n"
    expect(answer.locator(".given-text")).to_have_count(1)


def test_several_lines_are_several_answers_to_one_request(page: Page) -> None:
    """If asked for, several lines are sent as one request with one answer each, and empty lines are skipped."""
    open_model(page, "tiny-classifier")
    page.get_by_label("One text per line").check()
    asked: list[object] = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.method == "POST" else None)
    answer = ask(page, "hello\n\nworld\n one two \n")
    expect(answer.locator(".given-text")).to_have_text(["hello", "world", "one two"])
    expect(page.locator(".status")).to_contain_text("3 answers")
    assert [body["inputs"] for body in asked if isinstance(body, dict)] == [["hello", "world", " one two "]]


def test_a_translator_shows_where_it_looked(page: Page, server: LiveServer) -> None:
    """The attention table shows the service's weights, and hovering over a target word highlights its source words."""
    open_model(page, "tiny-translator")
    answer = ask(page, "the cat sat")
    parameters = {"num_beams": 2, "length_penalty": 1.0, "return_attention": True}
    (prediction,) = predicted(server, model="tiny-translator", inputs="the cat sat", parameters=parameters)
    weights: list[list[float]] = prediction["attention"]["weights"]  # type: ignore[index]
    expect(answer.locator(".translated")).to_have_text(str(prediction["text"]))
    shown = answer.locator(".heat tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.number')].map(cell => Number(cell.textContent)))"
    )
    assert shown == [[int(weight * 100 + 0.5) for weight in row] for row in weights]
    answer.get_by_role("option").nth(1).hover()
    lit = answer.locator(".piece:not(.is-target)").evaluate_all(
        "pieces => pieces.map(piece => Number(piece.style.getPropertyValue('--weight')))"
    )
    assert lit == pytest.approx(weights[1], abs=0.001)
    number = answer.locator(".number").first
    expect(number).to_have_css("clip-path", "inset(50%)")
    answer.get_by_label("Show numbers").check()
    expect(number).to_have_css("clip-path", "none")


def test_copied_words_are_underlined_and_point_to_where_they_stand(page: Page) -> None:
    """What the service says was copied is marked, and pointing at it marks its place in the input, and no other."""
    copied = [
        {"start": 4, "end": 7, "source_start": 7, "source_end": 10},
        {"start": 12, "end": 16, "source_start": 2, "source_end": 6},
    ]

    def as_one_that_copies(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["predictions"] = [{"text": "N = 492 AND EECS", "score": -0.1, "copied": copied}]
        route.fulfill(response=answer, json=body)

    page.route(re.compile("/predict$"), as_one_that_copies)
    open_model(page, "tiny-translator")
    answer = ask(page, "\U0001f642 EECS 492")
    marked = answer.locator(".translated .copied")
    expect(answer.locator(".translated")).to_have_text("N = 492 AND EECS")
    expect(marked).to_have_text(["492", "EECS"])
    expect(answer.locator(".copied-legend")).to_contain_text("copied from the input")
    marked.first.hover()
    expect(answer.locator(".origin.is-lit")).to_have_text(["492"])
    marked.nth(1).focus()
    expect(answer.locator(".origin.is-lit")).to_have_text(["EECS"])


def test_answers_of_a_model_with_a_grammar_are_said_to_be_constrained(page: Page) -> None:
    """The page says in words that answers are constrained, of a model whose options hold a grammar, and of no other."""

    def as_one_with_a_grammar(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["options"] = {**body["options"], "grammar": "start: WORD*"}
        route.fulfill(response=answer, json=body)

    open_model(page, "tiny-translator")
    assert ask(page, "the cat sat").locator(".constrained").count() == 0
    page.route(re.compile(r"/models/tiny-translator\?"), as_one_with_a_grammar)
    page.reload()
    open_model(page, "tiny-translator")
    expect(ask(page, "the cat sat").locator(".constrained")).to_contain_text("the answer always parses")


def test_a_task_that_the_page_does_not_know_is_asked_and_answered_in_json(page: Page) -> None:
    """A task that the page does not support is requested and answered as JSON."""

    def as_another_task(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"tagging"', '"summarizing"'))

    page.route(re.compile("/models"), as_another_task)
    open_model(page, "tiny-tagger")
    page.get_by_label("Inputs, as JSON").fill('["Ada", "lives"')
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".field-error")).to_contain_text("invalid JSON")
    answer = ask(page, '[["Ada", "lives"]]')
    shown = json.loads(answer.locator(".json").inner_text())
    assert [token["text"] for token in shown["predictions"][0]["tokens"]] == ["Ada", "lives"]
    expect(page.locator(".field-error")).to_have_count(0)


def test_a_refused_text_is_marked_at_the_field_in_the_services_own_words(page: Page) -> None:
    open_model(page, "tiny-classifier")
    ask(page, "")
    expect(page.locator("#input")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".input-field").get_by_role("alert")).to_have_text("the text is empty")
    page.get_by_label("One text per line").check()
    ask(page, "hello\n" + "word " * 41)
    sentence = "Text 2: the input has 41 tokens, this model takes at most 40"
    expect(page.locator(".input-field").get_by_role("alert")).to_have_text(sentence)
    ask(page, "hello")
    expect(page.locator("#input")).not_to_have_attribute("aria-invalid", "true")


def test_markup_in_a_text_stays_text(page: Page) -> None:
    text = "<img src=x onerror=alert(1)> <b>hello</b> & world"
    open_model(page, "tiny-classifier")
    answer = ask(page, text)
    expect(answer.locator(".given-text")).to_have_text(text)
    assert not answer.locator("img, b").filter(has_not_text="ms").count()


def test_a_model_that_failed_says_why_in_its_place_and_when_asked(
    browser: Browser, tiny_models: Path, tmp_path: Path
) -> None:
    copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path)
    (copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path) / "classifier.onnx").unlink()
    with live_server(tmp_path, lanes=1) as server:
        for page in watched_page(new_context(browser, server)):
            open_model(page, "tiny-classifier")
            expect(page.get_by_role("status").first).to_have_text("1 of 2 models ready")
            expect(page.locator(".work-heading").get_by_role("alert")).to_contain_text("classifier.onnx is missing")
            answer = ask(page, '"hello"')
            expect(answer.get_by_role("alert")).to_contain_text("503")
            expect(answer.get_by_role("alert").locator("li")).to_contain_text("classifier.onnx is missing")


def test_a_model_that_is_loading_can_be_asked_as_soon_as_it_is_there(own_page: Page) -> None:
    """A loading model can be queried as soon as it is ready, without a reload of the page."""
    page, is_loading = own_page, True
    page.clock.install()

    def as_loading(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace('"state":"ready"', '"state":"loading"') if is_loading else answer.text()
        route.fulfill(response=answer, body=body)

    page.route(re.compile("/models"), as_loading)
    open_model(page, "tiny-tagger")
    expect(page.locator(".work-heading").get_by_role("alert")).to_have_text("tiny-tagger is still loading.")
    is_loading = False
    page.clock.run_for(1000)
    expect(page.locator(".work-heading").get_by_role("alert")).to_have_count(0)
    expect(ask(page, "hello").locator(".word")).to_have_count(1)


def test_a_network_that_is_gone_is_said_plainly_and_the_next_try_works(page: Page) -> None:
    open_model(page, "tiny-tagger")
    page.route("**/predict", lambda route: route.abort())
    expect(ask(page, "hello").get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.unroute("**/predict")
    expect(ask(page, "hello").locator(".word")).to_have_count(1)
    expect(answer_of(page).get_by_role("alert")).to_have_count(0)
