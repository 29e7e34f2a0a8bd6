"""Splits made on this machine: strings of words from single recordings, the same ones every time."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from training.data.formats.options import ReadOptions
from training.data.public.joined_words import make_split
from training.data.public.named_dataset import JoinedWords
from training.data.read import read_records
from training.data.records import LabelledSignal, Utterance
from training.preprocessing.signal_values import wav_file

RATE_HZ = 8000
MADE = JoinedWords(dataset="d", count=12, seed=3, word_column="digit", shortest=2, longest=4)


def recordings(folder: Path) -> Path:
    """Two speakers, two digits each, of which the second is silence."""
    lines = ["file\tdigit\tspeaker"]
    tone = 0.3 * np.sin(np.arange(RATE_HZ // 4) / 5)
    with zipfile.ZipFile(folder / "train.zip", "w") as packed:
        for speaker in ("anna", "ben"):
            for digit, samples in ((7, np.pad(tone, 2000)), (0, np.zeros(1000))):
                name = f"{digit}_{speaker}.wav"
                packed.writestr(name, wav_file(LabelledSignal(samples.astype(np.float32), "", (), RATE_HZ)))
                lines.append(f"{name}\t{digit}\t{speaker}")
    (folder / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.tsv"


def made(source: Path, target: Path) -> list[Utterance]:
    make_split(source, MADE, target)
    records = read_records("transcription", target, ReadOptions())
    return [record for record in records if isinstance(record, Utterance)]


def test_strings_are_of_one_speaker_and_the_same_every_time(tmp_path: Path) -> None:
    """Two to four words each, digits as words, never louder than full scale; no other file is left."""
    source = recordings(tmp_path)
    first, second = made(source, tmp_path / "made/a.tsv"), made(source, tmp_path / "made/b.tsv")
    assert [(one.text, one.group, one.values.tobytes()) for one in first] == [
        (one.text, one.group, one.values.tobytes()) for one in second
    ]
    assert (len(first), {one.group for one in first}, {one.sample_rate_hz for one in first}) == (
        12, {"anna", "ben"}, {RATE_HZ},
    )  # fmt: skip
    assert {word for one in first for word in one.text.split()} == {"seven", "zero"}
    assert all(2 <= len(one.text.split()) <= 4 and np.abs(one.values).max() <= 1 for one in first)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["a.tsv", "a.zip", "b.tsv", "b.zip"]
