"""Folders of speech as corpora have them, and frames in arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.readers.speech_files import put, read, texts
from training.data.formats.faults import DataFault
from training.data.inputs import read_inputs


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_librispeech(tmp_path: Path) -> None:
    """Texts of a chapter beside its sounds, at any depth; the first number of a name is the speaker."""
    for name in ("84/121/84-121-0000", "84/121/84-121-0001", "9/1/9-1-0"):
        put(tmp_path / f"{name}.wav")
    write(tmp_path / "84/121/84-121.trans.txt", "84-121-0000 HELLO THERE\n84-121-0001 GO\n84-121-0002 GONE\n")
    write(tmp_path / "9/1/9-1.trans.txt", "9-1-0 YES\n")
    write(tmp_path / "SPEAKERS.TXT", ";ID | SEX\n")
    records, report = read(tmp_path)
    assert [(one.text, one.group) for one in records] == [("HELLO THERE", "84"), ("GO", "84"), ("YES", "9")]
    assert [str(fault).split(": ")[1] for fault in report.faults] == [
        "there is no sound 84-121-0002 beside it; such as .flac or .wav"
    ]


def test_a_text_beside_each_sound(tmp_path: Path) -> None:
    """`anna/1.WAV` and `anna/1.txt`; a sound without a text is left out and counted."""
    put(tmp_path / "anna/1.WAV")
    put(tmp_path / "ben/2.wav")
    put(tmp_path / "ben/3.wav")
    write(tmp_path / "anna/1.txt", "hello\n")
    write(tmp_path / "ben/2.txt", "go\non\n")
    records, report = read(tmp_path)
    assert [(one.text, one.group) for one in records] == [("hello", "anna"), ("go on", "ben")]
    assert "left out: 1 sounds without a text beside them; the first: ben/3.wav" in str(report.warnings[0])


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """A data folder whose paths start two folders above it."""
    put(tmp_path / "wavs/a.wav", 4)
    put(tmp_path / "wavs/b.wav")
    folder = tmp_path / "data/train"
    write(folder / "wav.scp", f"u1 wavs/a.wav\nu2 {tmp_path}/wavs/b.wav\n")
    write(folder / "text", "u1 HELLO\nu2\tGO ON\n")
    write(folder / "utt2spk", "u1 anna\nu2 ben\n")
    return folder


def test_kaldi(kaldi: Path) -> None:
    records, report = read(kaldi)
    assert ([(one.text, one.group) for one in records], report.faults) == ([("HELLO", "anna"), ("GO ON", "ben")], [])


def test_segments_of_recordings(kaldi: Path) -> None:
    """An utterance is the part of a recording in `segments`, in seconds; parts outside of it are faults."""
    write(kaldi / "segments", "s1 u1 0.5 1.5\ns2 u1 1.5 2\ns3 u1 9 10\nbad line\n")
    write(kaldi / "text", "s1 HELLO\ns2 GO\ns3 NO\ns4 NONE\n")
    records, report = read(kaldi)
    assert [(one.text, len(one.values)) for one in records] == [("HELLO", 1000), ("GO", 500)]
    said = [str(fault).split("train/")[1] for fault in report.faults]
    assert said[0].startswith("segments:4: invalid segment")
    assert said[1].startswith("text:3: the part from 9 to 10 s is not in wavs/a.wav, which lasts 4.00 s")
    assert said[2].startswith("text:4: utterance s4 is not in segments")


def test_commands_in_a_data_folder_are_never_run(kaldi: Path, tmp_path: Path) -> None:
    """A line that ends with a pipe is a fault, and so is an archive of Kaldi."""
    write(kaldi / "wav.scp", f"u1 touch {tmp_path}/ran |\nu2 feats.ark:123\n")
    records, report = read(kaldi)
    assert (records, (tmp_path / "ran").exists()) == ([], False)
    assert "the output of a command, which is not run; decode the sounds to files" in str(report.faults[0])
    assert "in an archive of Kaldi" in str(report.faults[1])


def test_a_folder_of_another_task_is_explained(tmp_path: Path) -> None:
    """Sounds in folders of labels have no texts."""
    put(tmp_path / "yes/1.wav")
    with pytest.raises(DataFault, match=r"no table of sounds and texts in this folder; .*NAME\.txt beside"):
        read(tmp_path)


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    frames = np.arange(120, dtype=np.float32).reshape(30, 4)
    np.savez(tmp_path / "t.npz", frames=frames, lengths=np.array([10, 15, 5]))
    write(tmp_path / "t.tsv", "utterance\tspeaker\tframes\ttext\na\tanna\t10\thello\nb\tben\t15\tgo\nc\tben\t5\tno\n")
    return tmp_path / "t.tsv"


def test_frames_in_one_array(arrays: Path) -> None:
    """The archive or the table may be named; frames belong to the texts in order, and features may be named."""
    records, report = read(arrays, channel_columns="a,b,c,d")
    assert [(one.text, one.group, one.values.shape) for one in records] == [
        ("hello", "anna", (10, 4)), ("go", "ben", (15, 4)), ("no", "ben", (5, 4)),
    ]  # fmt: skip
    assert (records[1].values[0, 0], records[0].features, records[0].kind, report.faults) == (
        40, ("a", "b", "c", "d"), "frames", [],
    )  # fmt: skip
    assert texts(arrays.with_suffix(".npz")) == ["hello", "go", "no"]
    signal = {"signal": {"kind": "frames", "features": ["a", "b", "c", "d"]}}
    assert [len(value["frames"]) for _, value in read_inputs(arrays, "transcription", signal, {}, [])] == [10, 15, 5]  # type: ignore[index,call-overload]


def test_frames_too_few_for_a_text_are_left_out(arrays: Path) -> None:
    """CTC needs a frame for each character."""
    write(arrays, "utterance\ttext\na\thello\nb\t\nc\tmuch too long\n")
    records, report = read(arrays)
    assert [one.text for one in records] == ["hello"]
    assert [str(warning).split("; the first")[0].split(": ")[1:] for warning in report.warnings] == [
        ["left out", "1 sound without a text"],
        ["left out", "1 sound too short for the text"],
    ]


def test_arrays_that_do_not_fit_are_explained(arrays: Path) -> None:
    """Other arrays, lengths that do not add up, another number of texts, another order, and no numbers."""
    archive = arrays.with_suffix(".npz")
    cases = [
        ({"x": np.zeros(3)}, r"no arrays frames and lengths; it holds x \[3\]"),
        ({"frames": np.zeros((9, 2)), "lengths": np.array([4, 4])}, "lengths add up to 8, but there are 9 frames"),
        ({"frames": np.zeros((9, 2)), "lengths": np.array([5, 4])}, "2 utterances, but 3 rows"),
        ({"frames": np.full((9, 2), np.nan), "lengths": np.array([4, 4, 1])}, "frame 0, of line 2, holds"),
        ({"frames": np.zeros(9), "lengths": np.array([4, 4, 1])}, "invalid arrays"),
        ({"frames": np.array([None]), "lengths": np.array([1])}, "invalid NumPy archive"),
    ]
    for content, what in cases:
        np.savez(archive, **content)
        with pytest.raises(DataFault, match=what):
            read(arrays)
    np.savez(archive, frames=np.zeros((30, 4)), lengths=np.array([15, 10, 5]))
    _, report = read(arrays)
    assert "the table says 10 frames, the array has 15" in str(report.faults[0])
    arrays.unlink()
    with pytest.raises(DataFault, match=r"there is no table t\.tsv of the texts beside it"):
        read(archive)
