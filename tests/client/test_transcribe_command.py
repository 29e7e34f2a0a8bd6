"""`unroll transcribe`: files and standard input to a running server, as text, words, JSON and subtitles."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from service.cli.commands import app
from tests.api.streaming.speech.tiny_speech import RATE_HZ, sound
from tests.client.conftest import SOUND, SPEECH, SPEECH_WHOLE
from tests.live_server import LiveServer

SAMPLES = (sound(2.0) * (2**15 - 1)).astype("<i2")


def transcribe(service: LiveServer, *arguments: str, given: bytes | None = None) -> Result:
    url = f"http://127.0.0.1:{service.port}"
    return CliRunner().invoke(app, ["transcribe", *arguments, "--url", url], input=given)


def sound_file(kind: str, channels: int = 1) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, np.repeat(SAMPLES[:, None], channels, axis=1), RATE_HZ, format=kind, subtype="PCM_16")
    return content.getvalue()


def texts(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    found = result.stdout.splitlines()
    assert found
    return found


def test_a_file_and_standard_input_give_the_same_text(service: LiveServer, tmp_path: Path) -> None:
    """Whatever the file is, and whether standard input is a wave file, of two channels too, or raw samples."""
    for kind in ("WAV", "FLAC"):
        (tmp_path / f"a.{kind}").write_bytes(sound_file(kind))
    wanted = texts(transcribe(service, str(tmp_path / "a.WAV"), "-m", SPEECH))
    assert texts(transcribe(service, str(tmp_path / "a.FLAC"), "-m", f"{SPEECH}@1")) == wanted
    assert texts(transcribe(service, "-", "-m", SPEECH, given=sound_file("WAV"))) == wanted
    assert texts(transcribe(service, "-", "-m", SPEECH, given=sound_file("WAV", channels=2))) == wanted
    raw = ("-", "-m", SPEECH, "--sample-rate-hz", str(RATE_HZ))
    assert texts(transcribe(service, *raw, given=SAMPLES.tobytes())) == wanted


def test_each_form_has_the_same_words(service: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(sound_file("FLAC"))
    words = " ".join(texts(transcribe(service, str(path), "-m", SPEECH))).split()
    rows = [line.split("\t") for line in texts(transcribe(service, str(path), "-m", SPEECH, "--words"))]
    assert [row[-1] for row in rows] == words
    live = transcribe(service, "-", "-m", SPEECH, "--json", "--partials", given=sound_file("WAV"))
    lines = [json.loads(line) for line in texts(live)]
    assert " ".join(line["text"] for line in lines if line["is_final"]).split() == words
    assert not all(line["is_final"] for line in lines)
    srt = transcribe(service, str(path), "-m", SPEECH, "--srt").stdout
    assert srt.startswith("1\n00:00:0")
    assert transcribe(service, str(path), "-m", SPEECH_WHOLE, "--vtt", "--out-dir", str(tmp_path)).exit_code == 0
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n\n00:00:0")


def test_the_other_files_are_transcribed_when_some_cannot_be(service: LiveServer, tmp_path: Path) -> None:
    """Whatever is wrong with them, here or by the service; each is told, and the command ends with 1 and a count."""
    good, flac, fast = sound_file("WAV"), sound_file("FLAC"), io.BytesIO()
    soundfile.write(fast, SAMPLES, 500_000, format="WAV")
    bad = {"b": b"", "c": b"a text", "d": flac[:200] + b"damaged", "e": good[:1000], "f": fast.getvalue(), "g": b"RIFF"}
    for stem, content in {"a": good, **bad, "z": flac}.items():
        (tmp_path / stem).write_bytes(content)
    names = [str(tmp_path / stem) for stem in ("a", *bad, "missing", "folder", "z")]
    (tmp_path / "folder").mkdir()
    found = transcribe(service, *names, "-m", SPEECH, "--out-dir", str(tmp_path / "out"))
    assert (found.exit_code, found.stderr.splitlines()[-1]) == (1, "unroll: 8 of 10 sounds could not be transcribed")
    told = [line for line in found.stderr.splitlines() if line.startswith(f"unroll: {tmp_path}/")]
    assert [Path(line.split(": ")[1]).name for line in told] == [*bad, "missing", "folder"]
    assert "sample_rate_hz" in told[4]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "z.txt"]
    first, last = [(tmp_path / "out" / name).read_text().split("\t") for name in ("a.txt", "z.txt")]
    assert first[1:] == last[1:] != []


def test_what_is_wrong_for_every_file_is_told_once(service: LiveServer, tmp_path: Path) -> None:
    for stem in ("a", "b"):
        (tmp_path / stem).write_bytes(sound_file("WAV"))
    found = transcribe(service, str(tmp_path / "a"), str(tmp_path / "b"), "-m", SPEECH, "-p", "colour=red")
    assert (found.exit_code, found.stderr.count("colour")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["no.wav"], "no.wav: there is no such file"),
        (["."], "this is a folder: name its files"),
        ([__file__, "-m", SPEECH], "this is no sound file, by its first bytes: send WAV, FLAC"),
        (
            ["-", "-m", SOUND],
            "tiny-sound is a model for classification, and recognises no speech; for speech there are ",
        ),
        (["-"], f"choose a model with --model: for speech there are {SPEECH}, {SPEECH_WHOLE}"),
        (["-", "-m", "nobody"], "there is no model 'nobody'"),
        (["-", "-m", SPEECH, "-p", "colour=red"], "colour"),
        (["-", "-m", SPEECH, "--srt", "--vtt"], "choose one of --srt and --vtt"),
        (["-", "-m", SPEECH, "--partials"], "--partials needs --json"),
        (["-", "-m", SPEECH, "--encoding", "mp3"], "raw samples are pcm_s16le or pcm_f32le"),
        (["-", __file__, "-m", SPEECH], "give standard input (-) alone"),
        ([__file__, __file__, "-m", SPEECH, "--srt"], "subtitles of several files need a file each"),
        ([__file__, __file__, "--out-dir", "out"], "would be the same file in --out-dir"),
    ],
)
def test_what_cannot_be_transcribed_is_one_sentence(service: LiveServer, arguments: list[str], what: str) -> None:
    found = transcribe(service, *arguments, given=SAMPLES[:800].tobytes())
    assert found.exit_code == 2
    assert what in found.stderr
    assert "Traceback" not in found.output


@pytest.mark.parametrize("given", [b"RIFF and no wave file", b"RIFF", sound_file("WAV")[:40]])
def test_a_wave_file_that_is_none_is_refused_on_standard_input(service: LiveServer, given: bytes) -> None:
    found = transcribe(service, "-", "-m", SPEECH, given=given)
    assert (found.exit_code, found.stderr) == (2, "unroll: standard input begins as a wave file, and is none\n")
