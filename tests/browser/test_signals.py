"""Models without text input: entering audio and numeric series, and how the answers are rendered."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, expect

from service.bundle.load import load_bundle
from tests.browser.conftest import new_context, watched_page
from tests.browser.playground import answer_of, call, open_model, visit
from tests.browser.signal_models import FORECASTER, MOTION, SOUND
from tests.live_server import LiveServer, live_server
from tests.programs import find_program
from tests.tiny_signals import FEATURES, RATE_HZ
from tests.training.tiny_series import CHANNELS


@pytest.fixture(scope="module")
def server(signal_models: Path) -> Iterator[LiveServer]:
    with live_server(signal_models) as started:
        yield started


@pytest.fixture(scope="module")
def context(browser: Browser, server: LiveServer) -> Iterator[BrowserContext]:
    context = new_context(browser, server, permissions=["microphone"])
    yield context
    context.close()


def run(page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    """Submit the form and return the request that was sent and its answer."""
    with page.expect_response("**/predict") as response:
        page.locator("button.run").click()
    answer_of(page)
    body: dict[str, Any] = response.value.request.post_data_json
    answer: dict[str, Any] = response.value.json()
    return body, answer


def wave_file(rate_hz: int, seconds: float = 0.3, channels: int = 1) -> bytes:
    """Return a WAV file with a tone of 440 Hz."""
    tone = 9000 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(np.repeat(tone.astype("<i2"), channels).tobytes())
    return file.getvalue()


def payload(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def sent_wave(body: dict[str, Any]) -> wave.Wave_read:
    return wave.open(io.BytesIO(base64.b64decode(body["inputs"]["wav"])))


def test_a_recorded_sound_is_sent_as_it_is_and_answered_with_bars(page: Page, signal_models: Path) -> None:
    """A recorded example is sent unchanged and answered with bars, and the other examples can be selected."""
    open_model(page, SOUND)
    examples = load_bundle(signal_models / SOUND / "1").examples
    expect(page.get_by_role("img", name="The sound: 0.04 s")).to_be_visible()
    page.get_by_role("button", name="Sound 2").click()
    expect(page.get_by_role("img", name="The sound: 0.06 s")).to_be_visible()
    body, answer = run(page)
    assert body["inputs"] == examples[1].inputs
    expect(page.locator(".bar-label")).to_have_text([one["label"] for one in answer["predictions"][0]["top_k"]])


def test_a_file_of_the_models_rate_is_sent_byte_for_byte(page: Page) -> None:
    open_model(page, SOUND)
    content = wave_file(RATE_HZ, channels=2)
    page.locator("#input").set_input_files(payload("tone.wav", content))
    expect(page.get_by_role("img", name="The sound: 0.30 s")).to_be_visible()
    body, _ = run(page)
    assert base64.b64decode(body["inputs"]["wav"]) == content


def test_a_file_of_another_rate_is_resampled_in_the_page(page: Page) -> None:
    """A file with another sample rate is resampled in the page without a change of pitch."""
    open_model(page, SOUND)
    page.locator("#input").set_input_files(payload("tone.wav", wave_file(48_000)))
    expect(page.get_by_role("img", name="The sound: 0.30 s")).to_be_visible()
    sent = sent_wave(run(page)[0])
    samples = np.frombuffer(sent.readframes(sent.getnframes()), dtype="<i2")
    assert (sent.getframerate(), sent.getnchannels(), sent.getsampwidth()) == (RATE_HZ, 1, 2)
    strongest = np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples)
    assert strongest == pytest.approx(440, abs=5)
    assert np.abs(samples).max() == pytest.approx(9000, rel=0.05)


def test_a_dropped_file_is_taken_too(page: Page) -> None:
    open_model(page, SOUND)
    page.evaluate(
        """base64 => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "tone.wav"));
            const place = document.querySelector(".input-field");
            place.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(wave_file(RATE_HZ)).decode(),
    )
    expect(page.get_by_role("img", name="The sound: 0.30 s")).to_be_visible()


def test_a_voice_is_recorded_until_the_model_can_take_no_more(page: Page) -> None:
    """A recording stops at the model's maximum length, releases the microphone, and is sent at the model's rate."""
    open_model(page, SOUND)
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("img", name="The sound: 0.60 s")).to_be_visible()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_enabled()
    sent = sent_wave(run(page)[0])
    assert (sent.getframerate(), sent.getnframes()) == (RATE_HZ, pytest.approx(0.6 * RATE_HZ, abs=2))


def test_without_the_right_to_record_the_page_says_so(browser: Browser, server: LiveServer) -> None:
    for page in watched_page(new_context(browser, server)):
        open_model(page, SOUND)
        page.get_by_role("button", name="Record").click()
        expect(page.locator(".field-error")).to_contain_text("this page may not use the microphone")
        expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_a_sound_can_be_played_and_stopped(page: Page) -> None:
    open_model(page, SOUND)
    page.locator("#input").set_input_files(payload("tone.wav", wave_file(RATE_HZ, seconds=30)))
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Stop playing").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_what_is_no_sound_or_too_long_is_refused_at_the_field(page: Page) -> None:
    """The field shows the browser's error for a file that is not audio, and the service's for one that is too long."""
    open_model(page, SOUND)
    page.locator("#input").set_input_files(payload("notes.wav", b"no sound at all"))
    expect(page.locator(".field-error")).to_have_text("the browser cannot read notes.wav as sound")
    page.locator("button.run").click()
    expect(page.locator(".field-error")).to_contain_text("no sound yet")
    page.locator("#input").set_input_files(payload("long.wav", wave_file(RATE_HZ, seconds=0.9)))
    expect(page.locator(".field-error")).to_have_count(0)
    run(page)
    expect(page.locator(".field-error")).to_have_text("the sound lasts 0.90 s, this model takes at most 0.60 s")


@pytest.mark.parametrize(("model", "file"), [(SOUND, "sound.wav"), (MOTION, ""), (FORECASTER, "request.json")])
def test_the_command_reads_long_inputs_from_the_file_that_the_page_saves(
    page: Page, tmp_path: Path, model: str, file: str
) -> None:
    """The curl command reads long inputs from the file that the page saves instead of containing them."""
    find_program("curl")
    open_model(page, model)
    if model == FORECASTER:
        page.locator("#input").fill("\n".join(["1.23456789012345,2.34567890123451,3.45678901234512"] * 40))
    _, answer = run(page)
    if file:
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {file}").click()
        download.value.save_as(tmp_path / file)
    command = page.locator(".command").text_content() or ""
    assert len(command) < 1000
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout)["predictions"] == answer["predictions"]


def rows_of(page: Page) -> list[list[float]]:
    """Return the numbers in the form."""
    lines = page.locator("#input").input_value().splitlines()
    return [[float(cell) for cell in line.split(",")] for line in lines[1:]]


def test_frames_are_classified_as_they_were_recorded(page: Page, signal_models: Path) -> None:
    open_model(page, MOTION)
    example = load_bundle(signal_models / MOTION / "1").examples[1]
    page.get_by_role("button", name="Series 2:").click()
    body, answer = run(page)
    assert body["inputs"] == example.inputs
    expect(page.locator(".bar-label").first).to_have_text(answer["predictions"][0]["label"])


def test_a_line_is_drawn_with_the_pointer_in_the_chosen_channel_alone(page: Page) -> None:
    """A rising stroke sets increasing values in the selected channel and leaves the others unchanged."""
    open_model(page, MOTION)
    page.get_by_role("button", name="Series 3").click()
    page.get_by_label("Line").select_option("y")
    before = rows_of(page)
    box = page.locator(".drawing-pad .plot-surface").bounding_box()
    assert box
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 1)
    page.mouse.up()
    after = rows_of(page)
    drawn = [row[1] for row in after]
    assert drawn == sorted(set(drawn))
    assert [[row[0], row[2]] for row in after] == [[row[0], row[2]] for row in before]
    assert run(page)[0]["inputs"]["frames"] == after


def test_a_value_is_changed_with_the_arrow_keys(page: Page) -> None:
    open_model(page, MOTION)
    before = rows_of(page)
    pad = page.get_by_role("slider", name="Draw x")
    pad.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    after = rows_of(page)
    expect(pad).to_have_attribute("aria-valuenow", "2")
    expect(pad).to_have_attribute("aria-valuetext", re.compile("^step 2 of 3: "))
    assert after[1][0] > before[1][0]
    assert after[0] == before[0]


def test_from_an_empty_field_a_series_is_drawn_on_zeros(page: Page) -> None:
    open_model(page, FORECASTER)
    page.locator("#input").fill("")
    page.get_by_role("slider", name="Draw load").focus()
    page.keyboard.press("ArrowUp")
    rows = rows_of(page)
    assert len(rows) == 12
    assert rows[0][0] > 0
    assert rows[1:] == [[0, 0, 0]] * 11


def test_series_are_read_as_people_have_them(page: Page) -> None:
    """Series are parsed with or without a header, with any column order and separator, and as the JSON of a request."""
    cases: dict[str, list[list[float]]] = {
        "y,x,z\n1,2,3\n4,5,6": [[2, 1, 3], [5, 4, 6]],
        'date;"x";y;z\n2020-01-01;1,5;2;3': [[1.5, 2, 3]],
        "1\t2\t3\r\n4\t5\t6\r\n": [[1, 2, 3], [4, 5, 6]],
        "1 2  3\n\n 4 5 6": [[1, 2, 3], [4, 5, 6]],
        '{"frames": [[1, 2, 3]]}': [[1, 2, 3]],
        '{"model": "m", "inputs": {"frames": [[1, 2, 3]]}}': [[1, 2, 3]],
        '[{"z": 3, "x": 1, "y": 2}]': [[1, 2, 3]],
        "[1, 2.5]": [[1], [2.5]],
        "-1e-3,2,3": [[-0.001, 2, 3]],
    }
    visit(page, "/")
    for text, rows in cases.items():
        assert call(page, "editors/series_text.js:rowsOf", text, list(FEATURES)) == rows


def test_what_is_no_series_is_said_with_its_place(page: Page) -> None:
    cases = {
        "": "no numbers yet",
        "x,y,z\n1,2,3\n1,,3": "line 3, column y: expected a number, found nothing",
        "1,2,3\n1,2,cat": "line 2, column z: expected a number, found “cat”",
        "x,z\n1,2": "the first line has no column named y",
        "[[1, 2, 3], [1, null, 3]]": "row 2, column y: expected a number, found nothing",
        '[{"x": 1, "y": 2}]': "row 1, column z: expected a number, found nothing",
        "[[1, 2": "invalid JSON",
        '{"rows": 3}': "neither a list of rows nor an object with “frames”",
    }
    open_model(page, MOTION)
    for text, sentence in cases.items():
        page.locator("#input").fill(text)
        page.locator("button.run").click()
        expect(page.locator(".field-error")).to_contain_text(sentence)
        expect(page.locator("#input")).to_have_attribute("aria-invalid", "true")


def test_the_service_says_what_else_is_wrong_with_a_series(page: Page) -> None:
    open_model(page, FORECASTER)
    page.locator("#input").fill("1,2\n3,4")
    run(page)
    expect(page.locator(".field-error")).to_have_text("a frame has 2 numbers, this model takes 3: load, heat, wind")
    expect(page.locator(".drawing-pad")).to_be_hidden()


def test_a_file_of_numbers_fills_the_field(page: Page) -> None:
    open_model(page, MOTION)
    page.get_by_label("A file of numbers").set_input_files(payload("walk.csv", b"x,y,z\n1,2,3\n4,5,6\n"))
    expect(page.get_by_role("slider", name="Draw x")).to_have_attribute("aria-valuemax", "2")
    assert run(page)[0]["inputs"] == {"frames": [[1, 2, 3], [4, 5, 6]]}


def test_cells_of_a_spreadsheet_are_pasted_as_text(page: Page) -> None:
    """Cells pasted from a spreadsheet are read as text, although the clipboard also contains an image."""
    open_model(page, MOTION)
    before = page.locator("#input").input_value()
    was_taken = page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", "1\\t2\\t3");
            clipboardData.items.add(new File(["a picture"], "cells.png", { type: "image/png" }));
            const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
            return !document.querySelector("#input").dispatchEvent(event);
        }"""
    )
    assert not was_taken
    expect(page.locator("#input")).to_have_value(before)


def forecast_of(page: Page) -> tuple[Locator, dict[str, Any], dict[str, Any]]:
    """Return the chart's plot area, the request and its prediction."""
    open_model(page, FORECASTER)
    body, answer = run(page)
    return page.get_by_role("slider", name="Forecast of"), body, answer["predictions"][0]


def test_a_forecast_is_read_by_keyboard(page: Page) -> None:
    """Arrow keys move from past to future values with the band of each step, and a screen reader announces the same."""
    chart, body, prediction = forecast_of(page)
    quantiles = prediction["quantiles"]
    ahead, low, high = (rows[0][0] for rows in (prediction["forecast"], quantiles["0.1"], quantiles["0.9"]))
    said = f"+1: load {ahead:.4g}, 80 % between {low:.4g} and {high:.4g}"
    expect(chart).to_have_attribute("aria-valuetext", said)
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", f"now: load {body['inputs']['frames'][-1][0]:.4g}")
    page.keyboard.press("Home")
    expect(page.locator(".forecast .readout")).to_have_text(f"11 steps ago: load {body['inputs']['frames'][0][0]:.4g}")
    page.keyboard.press("End")
    expect(chart).to_have_attribute("aria-valuenow", "5")


def test_a_forecast_follows_the_pointer(page: Page) -> None:
    chart, _, prediction = forecast_of(page)
    box = chart.bounding_box()
    assert box
    chart.hover(position={"x": box["width"] - 2, "y": 20})
    expect(page.locator(".forecast .readout")).to_contain_text(f"+5: load {prediction['forecast'][4][0]:.4g}, 80 %")


def test_each_channel_that_is_forecast_has_its_chart_and_its_table(page: Page) -> None:
    chart, _, prediction = forecast_of(page)
    page.get_by_label("Forecast of").and_(page.locator("select")).select_option("wind")
    expect(chart).to_have_attribute("aria-label", "Forecast of wind, step by step")
    page.get_by_text("As a table").click()
    shown = page.locator(".forecast tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('td')]"
        ".map(cell => Number(cell.textContent.replace(',', '').replace('\u2212', '-'))))"
    )
    columns = [prediction["forecast"], *(prediction["quantiles"][name] for name in ("0.1", "0.5", "0.9"))]
    wanted = [[rows[step][1] for rows in columns] for step in range(5)]
    assert shown == pytest.approx(np.array(wanted), rel=1e-3)


def test_the_line_and_the_band_stand_where_the_numbers_are(page: Page) -> None:
    """The line and the band match the values: the band starts at the last known value and encloses the quantiles."""
    _, _, prediction = forecast_of(page)
    band = page.locator(".forecast .plot-band").get_attribute("d") or ""
    line = page.locator(".forecast .is-ahead").get_attribute("d") or ""
    places = [[float(number) for number in point.split()] for point in re.split("[ML]", band.strip("Z"))[1:]]
    ahead = [[float(number) for number in point.split()] for point in re.split("[ML]", line)[1:]]
    assert len(places) == 2 * len(ahead) == 12
    assert places[0] == places[-1] == ahead[0]
    values = [row[0] for row in prediction["forecast"]]
    assert np.argsort([-top for _, top in ahead[1:]]).tolist() == np.argsort(values).tolist()


def test_a_model_of_numbers_says_how_many_steps_it_reads(page: Page) -> None:
    open_model(page, FORECASTER)
    expect(page.get_by_role("region", name="About this model")).to_contain_text("40 steps")
    expect(page.locator("#input-hint")).to_contain_text(", ".join(CHANNELS))


def test_nothing_is_heard_of_another_model(page: Page, server: LiveServer) -> None:
    """A recording ends when the user leaves for another model, and does not reach that model's form."""
    open_model(page, SOUND)
    page.get_by_role("button", name="Record").click()
    page.get_by_role("link", name=MOTION).click()
    expect(page.get_by_role("slider", name="Draw x")).to_be_visible()
    found = httpx.get(f"http://127.0.0.1:{server.port}/models/{MOTION}").json()["examples"][0]["inputs"]
    assert run(page)[0]["inputs"] == found
