"""Synthetic speech, with a program that plays an engine: it speaks a tone, and counts how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import UnrollError
from training.data.formats.faults import DataFault
from training.data.formats.transcript_form import transcript_of
from training.data.read import read_records
from training.data.records import Utterance
from training.synthesis import speech
from training.synthesis.engines import EngineFailed, installed_voices
from training.synthesis.sound import wave_bytes
from training.synthesis.speech import SpeechRequest, synthesize_speech
from training.synthesis.speech_plan import chosen_voices
from training.synthesis.texts import Sentence, read_sentences

ENGINE = """#!/bin/sh
case "$1" in
--voices=en) printf 'Pty Language Gender Name File\\n 2 en-us M A gmw/en-US\\n 3 en-gb M B gmw/en\\n 4 en M C mb/x\\n'
    exit ;;
--voices=variant) printf 'Pty Language Gender Name File\\n 5 variant F f1 !v/f1\\n 5 variant M w !v/whisper\\n'
    exit ;;
esac
cat > /dev/null
echo x >> HERE/spoken
[ -e HERE/broken ] && { echo 'no breath' >&2; exit 3; }
cp HERE/tone.wav "$8"
"""
SENTENCES = [Sentence(f"Sentence {word}.", f"sentence {word}") for word in ("one", "two", "three")]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the program, alone on the PATH but for the shell's own."""
    folder = tmp_path / "engine"
    folder.mkdir()
    tone = 0.2 * np.sin(np.arange(11025) * 0.1).astype(np.float32)
    (folder / "tone.wav").write_bytes(wave_bytes(np.pad(tone, 3000), 22050))
    program = folder / "espeak-ng"
    program.write_text(ENGINE.replace("HERE", str(folder)), encoding="utf-8")
    program.chmod(0o755)
    (folder / "cp").symlink_to("/bin/cp")
    (folder / "cat").symlink_to("/bin/cat")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(speech, "PART_SIZE", 2)
    return folder


def request(**changes: Any) -> SpeechRequest:
    fields = {"voices": "*", "left_out": "", "count": 3, "dev_count": 1, "seed": 1, "rate_hz": 8000}
    return SpeechRequest(**{"sentences": SENTENCES, "fragments": SENTENCES, **fields, **changes})


def make(out: Path, **changes: Any) -> list[str]:
    return [table.name for table in synthesize_speech(request(**changes), out, 1, lambda _: None)]


def spoken(engine: Path) -> int:
    return len((engine / "spoken").read_text().splitlines())


def test_parts_are_read_as_speech(engine: Path, tmp_path: Path) -> None:
    """Each part is a table with its archive; silence of the engine is cut, voices are the speakers."""
    assert make(tmp_path / "made") == ["part-000.tsv", "part-001.tsv"]
    records = read_records("transcription", tmp_path / "made" / "part-000.tsv")
    first = records[0]
    assert isinstance(first, Utterance)
    assert (first.text in {each.transcript for each in SENTENCES}, first.sample_rate_hz) == (True, 8000)
    assert first.group in ("espeak-ng/en-us+f1", "espeak-ng/en-gb+f1")
    assert 0.4 < len(first.values) / 8000 < 1.6
    assert 0.04 < float(np.abs(first.values).max()) <= 0.95


def test_a_later_run_makes_what_is_missing_only(engine: Path, tmp_path: Path) -> None:
    """Finished sounds are kept, a larger count adds to the set, and the bytes are those of one run."""
    out = tmp_path / "made"
    tables = synthesize_speech(request(), out, 1, lambda _: None)
    next(tables)
    (engine / "broken").touch()
    with pytest.raises(UnrollError, match="not one of 1 sounds could be made"):
        next(tables)
    (engine / "broken").unlink()
    assert len(make(out, count=4)) == 2
    assert spoken(engine) == 2 + 1 + 2
    make(out, count=4)
    assert spoken(engine) == 5
    make(tmp_path / "at-once", count=4)
    for name in ("part-001.tsv", "part-001.zip"):
        assert (out / name).read_bytes() == (tmp_path / "at-once" / name).read_bytes()


def test_a_folder_of_other_sounds_is_refused(engine: Path, tmp_path: Path) -> None:
    """The message says what was different; a folder of something else is not written into."""
    make(tmp_path / "made")
    with pytest.raises(UnrollError, match="seed was 1, now 2"):
        make(tmp_path / "made", seed=2)
    with pytest.raises(UnrollError, match="is not empty"):
        make(engine)


def test_voices_left_out_speak_dev_alone(engine: Path, tmp_path: Path) -> None:
    """No voice is in both."""
    assert make(tmp_path / "made", left_out="*/en-gb+*")[0] == "dev.tsv"
    assert "en-gb" in (tmp_path / "made" / "dev.tsv").read_text()
    assert "en-gb" not in (tmp_path / "made" / "part-000.tsv").read_text()


def test_without_an_engine_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is in the message."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineFailed, match=r"apt install espeak-ng flite festival festvox-us-slt-hts"):
        installed_voices()


@pytest.mark.parametrize("patterns", ["flute/*", "*=0", "*=much", "*=nan"])
def test_patterns_without_a_voice_are_refused(patterns: str) -> None:
    """So are shares that are no positive numbers."""
    with pytest.raises(UnrollError, match="voice"):
        chosen_voices(patterns, ["flite/slt"])


@pytest.mark.parametrize(
    ("text", "transcript"),
    [
        ("I'm  free.", "i'm free"),
        ("“Well-known?” he said…", "well known he said"),
        ("Café, naïve", "cafe naive"),
        ("the boys' room", "the boys room"),
        ("It's 5 o'clock.", None),
        ("Dr. Who", None),
        ("at 3 p.m. sharp", None),
        ("Ünïcödé ß", None),
        ("...", None),
        ("", None),
    ],
)
def test_transcripts_are_letters(text: str, transcript: str | None) -> None:
    """What is spoken as other words than it is written is passed over."""
    assert transcript_of(text) == transcript


def test_sentences_come_from_a_column(tmp_path: Path) -> None:
    """By name, else `text`; each once; a wrong name is answered with those there are."""
    table = tmp_path / "a.tsv"
    table.write_text('id\ttext\n1\tSay "this" now.\n2\tsay this now\n3\tno\n', encoding="utf-8")
    assert read_sentences(table, shortest=2) == [Sentence('Say "this" now.', "say this now")]
    with pytest.raises(DataFault, match="no column 'en'; there are id, text"):
        read_sentences(table, "en")
    with pytest.raises(DataFault, match="no text can be spoken"):
        read_sentences(table, "id")
