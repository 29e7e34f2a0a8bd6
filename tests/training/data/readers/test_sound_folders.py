"""Folders of sounds: any case, depth and sampling rate; what is left out is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.formats.faults import DataFault, Report
from training.data.read import read_located
from training.data.records import LabelledSignal
from training.preprocessing.signal_values import wav_file


def put(path: Path, rate_hz: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_file(LabelledSignal(np.zeros(100, dtype=np.float32), "", (), rate_hz)))


def read(folder: Path) -> tuple[list[LabelledSignal], Report]:
    report = Report(strict=False)
    records = [located.record for located in read_located("classification", folder, None, report)]
    return [record for record in records if isinstance(record, LabelledSignal)], report


def labels(folder: Path) -> list[str]:
    records, report = read(folder)
    assert report.faults == []
    return [record.label for record in records]


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.wav", "a/2.WAV", "b/3.Wav"],
        ["a/1.WAV", "a/2.WAV", "b/3.WAV"],
        ["a/s1/1.wav", "a/s2/deep/2.wav", "b/s1/3.wav"],
        ["a/1.wav", "a/s2/2.wav", "b/3.wave"],
        ["all/a/1.wav", "all/a/2.wav", "all/b/3.wav"],
        ["a/1.wav", "a/._1.wav", "a/2.wav", "b/3.wav", "__MACOSX/a/1.wav", ".cache/c/1.wav", "a/.hidden/4.wav"],
    ],
)
def test_sounds_are_found_in_any_case_and_at_any_depth(names: list[str], tmp_path: Path) -> None:
    """The label is the outermost folder; hidden files and what archivers leave behind are no sounds."""
    for name in names:
        put(tmp_path / name)
    assert labels(tmp_path) == ["a", "a", "b"]


def test_sounds_of_several_rates_are_read_as_they_are(tmp_path: Path) -> None:
    for number, rate_hz in enumerate((8000, 44100, 16000)):
        put(tmp_path / f"a/{number}.wav", rate_hz)
    records, report = read(tmp_path)
    assert ([record.sample_rate_hz for record in records], report.faults) == ([8000, 44100, 16000], [])


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "data/a/1.wav")
    put(tmp_path / "elsewhere/2.wav")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/again").symlink_to(tmp_path / "data/a")
    assert labels(tmp_path / "data") == ["a", "b"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name in ("a/1.wav", "b/2.wav", "lost.wav", "b/3.wma", "b/4.M4A"):
        put(tmp_path / name)
    records, report = read(tmp_path)
    said = " ".join(str(warning) for warning in report.warnings)
    assert len(records) == 2
    assert "1 sounds outside" in said
    assert "1 .m4a, 1 .wma" in said


def test_splits_are_no_labels(tmp_path: Path) -> None:
    for split in ("test", "train"):
        put(tmp_path / split / "a/1.wav")
    with pytest.raises(DataFault, match=f"--train {tmp_path}/train --dev {tmp_path}/test"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "what"), [("1.wav", "none in a folder"), ("a/1.m4a", "no sounds .* but 1 .m4a")])
def test_a_folder_without_labels_is_explained(name: str, what: str, tmp_path: Path) -> None:
    put(tmp_path / name)
    with pytest.raises(DataFault, match=what):
        read(tmp_path)


def test_speakers_of_words_and_words_of_speakers_are_doubted(tmp_path: Path) -> None:
    for speaker in ("anna", "ben"):
        for word in ("yes", "no"):
            put(tmp_path / speaker / word / "1.wav")
    records, report = read(tmp_path)
    assert [record.group for record in records] == ["no", "yes", "no", "yes"]
    assert "labels are the outer folders (anna, ben); if they are no, yes" in str(report.warnings[0])


def test_an_index_in_the_folder_names_the_labels(tmp_path: Path) -> None:
    """Its names may differ in case and have the slashes of Windows."""
    put(tmp_path / "clips/One.WAV")
    put(tmp_path / "clips/two.wav")
    (tmp_path / "metadata.csv").write_text("file_name,label\nclips\\one.wav,up\nclips/two.wav,down\n", encoding="utf-8")
    assert labels(tmp_path) == ["up", "down"]


def test_another_kind_of_sound_named_wav_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a/1.wav")
    (tmp_path / "a/2.wav").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(40))
    _, report = read(tmp_path)
    assert "2.wav: this is an MP4 or M4A file, which is not read: send WAV, FLAC" in str(report.faults[0])
