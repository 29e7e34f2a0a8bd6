"""Strings and streams glued from single recordings."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.errors import UnrollError
from training.synthesis import keyword_streams
from training.synthesis.connected_digits import DigitsRequest, synthesize_digits
from training.synthesis.gluing import glued, word_string
from training.synthesis.keyword_streams import Scenery, StreamRequest, synthesize_background, synthesize_keyword_streams
from training.synthesis.noises import COLOURS, Colour, noise
from training.synthesis.recordings import Clip, Prompt, WordRecordings, has_any, kept_apart
from training.synthesis.sound import Samples

RATE_HZ = 8000


def tone(seconds: float) -> Samples:
    return (0.1 * np.sin(0.5 * np.arange(round(seconds * RATE_HZ)))).astype(np.float32)


WORDS = WordRecordings({name: {"one": [tone(0.3)], "two": [tone(0.4), tone(0.2)]} for name in ("ann", "bo")})
PROMPTS = [Prompt(f"press {word}", tone(1.0)) for word in ("star", "pound", "the key", "and hold", "again", "hash")]


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and prompts without files."""
    for module in ("connected_digits", "keyword_streams"):
        monkeypatch.setattr(f"training.synthesis.{module}.read_words", lambda *_: WORDS)
    monkeypatch.setattr(keyword_streams, "read_prompts", lambda *_: PROMPTS)


def test_words_are_where_they_are_said_to_be() -> None:
    """Between the places is nothing, within them the sound of the word."""
    string = glued([Clip("one", tone(0.3)), Clip("two", tone(0.4))], RATE_HZ, np.random.default_rng(2))
    first, second = string.places
    assert string.text == "one two"
    assert (first.start, second.end, second.end - second.start) == (0, len(string.samples), 3200)
    assert -0.03 <= (second.start - first.end) / RATE_HZ <= 0.2
    assert not np.any(string.samples[first.end : second.start])


def test_a_string_is_of_one_speaker_and_of_the_length_asked_for() -> None:
    """Lengths are drawn from all that are allowed."""
    strings = [word_string(WORDS, (3, 5), RATE_HZ, np.random.default_rng(number)) for number in range(40)]
    assert {len(string.glued.places) for string in strings} == {3, 4, 5}
    assert {string.speaker for string in strings} == {"ann", "bo"}


def test_digits_are_the_same_again(recordings: None, tmp_path: Path) -> None:
    """Equal requests write equal files, with as many words as the text says."""
    request = DigitsRequest("fsdd", "train", "", "", 3, 7, 5, 1, RATE_HZ)
    tables = [next(iter(synthesize_digits(request, tmp_path / name, jobs))) for name, jobs in (("a", 1), ("b", 2))]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert tables[0].with_suffix(".zip").read_bytes() == tables[1].with_suffix(".zip").read_bytes()
    rows = list(csv.DictReader(tables[0].read_text().splitlines(), delimiter="\t"))
    assert all(3 <= len(row["text"].split()) <= 7 for row in rows)


def test_background_holds_words_or_none(recordings: None, tmp_path: Path) -> None:
    """Texts are the words alone, and empty where none is said; no sound is longer than asked for."""
    request = StreamRequest("fsdd", "asterisk_prompts_en", "", 1, RATE_HZ)
    table = next(iter(synthesize_background(request, 20, 6.0, tmp_path / "made", 1)))
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    assert {bool(row["text"]) for row in rows} == {True, False}
    assert all(set(row["text"].split()) <= {"one", "two"} and float(row["seconds"]) <= 6.0 for row in rows)


def test_streams_say_where_the_words_are(recordings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place lies in its stream, in order; a finished set is not written over."""
    monkeypatch.setattr(keyword_streams, "_STREAM_S", (10.0, 15.0))
    request = StreamRequest("fsdd", "asterisk_prompts_en", "", 1, RATE_HZ)
    table = synthesize_keyword_streams(request, 0.01, tmp_path / "made")
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    with zipfile.ZipFile(table.with_suffix(".zip")) as archive:
        seconds = {info.filename: info.file_size / 2 / RATE_HZ for info in archive.infolist()}
    assert sum(seconds.values()) >= 36
    assert {row["keyword"] for row in rows} == {"one", "two"}
    assert all(0 <= float(row["start_s"]) < float(row["end_s"]) <= seconds[row["stream"]] for row in rows)
    with pytest.raises(UnrollError, match="exists already"):
        synthesize_keyword_streams(request, 0.01, tmp_path / "made")


def test_train_and_dev_share_no_prompt() -> None:
    """The parts are disjoint and together all; which part a prompt is in depends on its text alone."""
    learnt, kept = kept_apart(PROMPTS, 50)
    assert {prompt.text for prompt in (*learnt, *kept)} == {prompt.text for prompt in PROMPTS}
    assert (len(learnt), len(kept)) == (len(PROMPTS) - len(kept), len(kept))
    assert Scenery(WORDS, learnt, RATE_HZ).prompts == kept_apart(PROMPTS[::-1], 50)[0][::-1]


@pytest.mark.parametrize("text", ["press six now", "sixteen", "the seventh", "ninety", "ones"])
def test_numbers_made_of_a_word_hold_it(text: str) -> None:
    """A detector would rightly hear them."""
    assert has_any(text, ["one", "six", "seven", "nine"])
    assert not has_any("honest people pressed on", ["one", "six", "seven", "nine"])


@pytest.mark.parametrize("colour", COLOURS)
def test_noise_has_its_level(colour: Colour) -> None:
    """The RMS is what was asked for, whatever the colour."""
    sound = noise(colour, 4000, -30.0, RATE_HZ, np.random.default_rng(1))
    assert 20 * np.log10(np.sqrt(np.mean(np.square(sound)))) == pytest.approx(-30.0, abs=0.1)
