"""Readers of signals: every form gives the same records, and a fault names the file, the line and the allowed form."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_signals import FEATURES, motions, sounds
from training.data.check import run
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import LabelledSignal, Record
from training.data.split import split_records
from training.preprocessing.signal_values import wav_file


def assert_same(found: list[Record], expected: list[LabelledSignal], *, with_groups: bool = True) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, LabelledSignal)
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
        assert (one.label, one.kind, one.sample_rate_hz) == (other.label, other.kind, other.sample_rate_hz)
        if with_groups:
            assert one.group == other.group


def write_index(folder: Path, records: list[LabelledSignal], *, zipped: bool = False) -> Path:
    """Write wave files and their index, in the same folder or in an archive of the same name."""
    lines = ["file\tlabel\tspeaker"]
    archive = zipfile.ZipFile(folder / "index.zip", "w") if zipped else None
    for number, record in enumerate(records):
        name = f"{number}.wav"
        (folder / name).write_bytes(wav_file(record))
        if archive is not None:
            archive.write(folder / name, name)
            (folder / name).unlink()
        lines.append(f"{name}\t{record.label}\t{record.group}")
    if archive is not None:
        archive.close()
    index = folder / "index.tsv"
    index.write_text("\n".join(lines) + "\n")
    return index


def write_rows(path: Path, records: list[LabelledSignal], *, with_labels: bool = True) -> Path:
    """Write one row per frame."""
    rows = [",".join(["sequence", "step", *(["label"] if with_labels else []), *FEATURES, "subject"])]
    for number, record in enumerate(records):
        for step, frame in enumerate(record.values.tolist()):
            label = [record.label] if with_labels else []
            rows.append(",".join([str(number), str(step), *label, *map(str, frame), record.group]))
    path.write_text("\n".join(rows) + "\n")
    return path


def write_lines(path: Path, records: list[LabelledSignal]) -> Path:
    lines = [json.dumps({"frames": record.values.tolist(), "label": record.label}) for record in records]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_wave_files_by_an_index(tmp_path: Path, zipped: bool) -> None:
    """The index is detected by its content; the files are in its folder or in an archive of the same name."""
    assert_same(read_records("classification", write_index(tmp_path, sounds(), zipped=zipped)), sounds())


def test_wave_files_in_folders(tmp_path: Path) -> None:
    """Each folder of wave files is a label."""
    for number, record in enumerate(sounds()):
        folder = tmp_path / record.label
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.wav").write_bytes(wav_file(record))
    expected = sorted(sounds(), key=lambda record: record.label)
    assert_same(read_records("classification", tmp_path), expected, with_groups=False)


def test_frames_in_rows(tmp_path: Path) -> None:
    """All numeric columns are channels by default; `channels` selects among them."""
    path = write_rows(tmp_path / "a.csv", motions())
    found = read_records("classification", path)
    assert_same(found, motions())
    assert isinstance(found[0], LabelledSignal)
    assert found[0].features == FEATURES
    (chosen, *_) = read_records("classification", path, ReadOptions(channel_columns=("z", "x")))
    assert isinstance(chosen, LabelledSignal)
    np.testing.assert_array_equal(chosen.values, motions()[0].values[:, [2, 0]])


def test_labels_of_rows_may_stand_in_a_file_beside(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a_sequences.csv", motions(), with_labels=False)
    labels = [f"{number},{record.label}" for number, record in enumerate(motions())]
    (tmp_path / "a_targets.csv").write_text("\n".join(["sequence,label", *labels]) + "\n")
    for options in (ReadOptions(), ReadOptions(sequence_column="sequence", label_column="label")):
        assert_same(read_records("classification", path, options), motions())


def test_frames_in_lines(tmp_path: Path) -> None:
    found = read_records("classification", write_lines(tmp_path / "a.jsonl", motions()))
    assert_same(found, motions(), with_groups=False)


def test_frames_in_arrays(tmp_path: Path) -> None:
    """Arrays hold windows of equal length, with label ids and a file of label names."""
    x = np.random.default_rng(0).normal(size=(4, 7, 2)).astype(np.float32)
    np.savez(
        tmp_path / "a.npz", x=x, y=np.array([1, 0, 1, 1]), label_names=np.array(["no", "yes"]), subject=[3, 3, 5, 5]
    )
    found = [r for r in read_records("classification", tmp_path / "a.npz") if isinstance(r, LabelledSignal)]
    assert [(record.label, record.group) for record in found] == [("yes", "3"), ("no", "3"), ("yes", "5"), ("yes", "5")]
    np.testing.assert_array_equal(np.stack([record.values for record in found]), x)


def test_labels_of_arrays_are_lines_of_a_list(tmp_path: Path) -> None:
    """Arrays `frames` and `labels` are read too; numbers from 1 are lines of labels.txt, and one beyond is named."""
    path, frames = tmp_path / "a.npz", np.zeros((2, 3, 1), np.float32)
    np.savez(path, frames=frames, labels=np.array([2, 1]))
    assert labels_of(path) == ["2", "1"]
    (tmp_path / "labels.txt").write_text("All clear\nNot clear\n")
    assert labels_of(path) == ["Not clear", "All clear"]
    for wrong in (0, 3):
        np.savez(path, frames=frames, labels=np.array([1, wrong]))
        assert f"label {wrong}" in str(fault_of(path))


@pytest.mark.parametrize("wrong", [-1, 2, 0.5])
def test_a_number_that_the_names_of_the_archive_do_not_have_is_named(tmp_path: Path, wrong: float) -> None:
    path, names = tmp_path / "a.npz", np.array(["no", "yes"])
    np.savez(path, x=np.zeros((2, 3, 1), np.float32), y=np.array([wrong] * 2), label_names=names)
    assert f"label {wrong}; label_names names the labels 0 to 1" in str(fault_of(path))


def labels_of(path: Path) -> list[str]:
    return [r.label for r in read_records("classification", path) if isinstance(r, LabelledSignal)]


def fault_of(path: Path) -> DataFault:
    with pytest.raises(DataFault) as caught:
        read_records("classification", path)
    return caught.value


def test_a_bad_wave_file_is_named_with_its_line(tmp_path: Path) -> None:
    """A missing or damaged file is a fault with index line and file name; one of another sample rate is read."""
    index = write_index(tmp_path, sounds())
    (tmp_path / "2.wav").write_bytes(wav_file(sounds()[2])[:50])
    fault = fault_of(index)
    assert (fault.path, fault.line) == (index, 4)
    assert fault.what.startswith("2.wav: the wave file is cut short")
    (tmp_path / "2.wav").unlink()
    assert fault_of(index).what.startswith("2.wav cannot be read")
    (tmp_path / "2.wav").write_bytes(wav_file(sounds()[2]._replace(sample_rate_hz=16000)))
    found = [record for record in read_records("classification", index) if isinstance(record, LabelledSignal)]
    assert {record.sample_rate_hz for record in found} == {8000, 16000}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("0,9,up,1,2,oops,p", "'z' is 'oops', not a number"),
        ("0,9,up,1,2,nan,p", "not finite"),
        ("0,9,up,1,2", "columns"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: str, what: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"sequence,step,label,x,y,z,subject\n0,0,up,1,2,3,p\n{row}\n")
    fault = fault_of(path)
    assert fault.line == 3
    assert what in str(fault)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"frames": [[1], [2, 3]], "label": "a"}', "frames.1: the number of values is 2"),
        ('{"frames": [[1, 2]], "label": "a"}', "a frame has 2 numbers; the first line has 1"),
        ('{"frames": "x", "label": "a"}', "invalid labelled sequence"),
        ('{"frames": [[1]]}', "invalid labelled sequence"),
        ("[1]", "invalid labelled sequence"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"frames": [[1]], "label": "a"}\n' + line + "\n")
    fault = fault_of(path)
    assert fault.line == 2
    assert what in str(fault)


def test_arrays_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(2))
    assert "x (or frames) must be [sequences, time, features]" in str(fault_of(path))
    path.write_bytes(b"nothing")
    assert "invalid NumPy archive" in str(fault_of(path))


def test_check_data_counts_signals_and_finds_repeats(tmp_path: Path) -> None:
    """The report has lengths in frames, the label balance, signals shared by train and dev, and each fault's line."""
    train = write_lines(tmp_path / "train.jsonl", motions())
    dev = write_lines(tmp_path / "dev.jsonl", [*motions(num=2, seed=5), motions()[3]])
    dev.write_text(dev.read_text() + '{"frames": [], "label": "up"}\n')
    report = run("classification", str(train), str(dev))
    assert (report.splits[0].length_unit, report.splits[0].max_length) == ("frames", 13)
    assert report.splits[0].labels == {"down": 2, "still": 2, "up": 2}
    assert report.comparisons[0].leak_lines == [(4, 3)]
    assert [(fault.line, fault.what.split(";")[0]) for fault in report.faults] == [(4, "frames: there are no frames")]


def test_a_split_depends_on_content_alone() -> None:
    """Equal signals are on the same side, and the same records always get the same split."""
    records = motions(num=40)
    parts = split_records([*records, *records], 0.3)
    again = split_records([*records[::-1], *records], 0.3)
    dev = {record.values.tobytes() for record in parts.dev if isinstance(record, LabelledSignal)}
    assert dev.isdisjoint(record.values.tobytes() for record in parts.train if isinstance(record, LabelledSignal))
    assert dev == {record.values.tobytes() for record in again.dev if isinstance(record, LabelledSignal)}
