"""What `unroll predict FILE` reads: the files that training reads, with or without their labels."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput
from tests.tiny_pictures import shape_picture
from tests.tiny_signals import sounds
from training.data.formats.faults import DataFault
from training.data.inputs import read_inputs
from training.preprocessing.signal_values import wav_file

FRAMES = {"signal": {"kind": "frames", "features": ["x", "y"]}}
SOUND = {"signal": {"kind": "waveform", "sample_rate_hz": 8000}}
SERIES = {"channels": ["load", "wind=NE"], "targets": ["load"], "look_back": 2}


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def values(path: Path, task: Any, model: dict[str, Any] | None = None, *columns: str) -> list[JsonInput | None]:
    return [value for _, value in read_inputs(path, task, model or {}, {}, columns)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\nhello,x\n,x\nbye,y\n"),
        ("a.csv", "label,message\nx,hello\nx,\ny,bye\n"),
        ("a.tsv", "text\tid\nhello\t1\n \t2\nbye\t3\n"),
        ("a.jsonl", '{"text": "hello", "n": 1}\n{"text": "", "n": 1}\n{"text": "bye", "n": 1}\n'),
        ("a.txt", "hello\n\nbye\n"),
    ],
)
def test_texts_keep_their_rows(name: str, content: str, tmp_path: Path) -> None:
    """The column is found as in training, a blank text is None, and lines of plain text are texts."""
    assert values(write(tmp_path, name, content), "classification") == ["hello", None, "bye"]


def test_the_column_of_training_is_taken_and_the_users_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "subject,Body,text\nhi,hello,no\n")
    known = {"text_column": "Body", "format": "tsv", "unknown": 1}
    assert read_inputs(path, "classification", {}, known, []) == [(2, "hello")]
    assert read_inputs(path, "classification", {}, {"text_column": "gone"}, []) == [(2, "no")]
    assert read_inputs(path, "classification", {}, known, ["text=subject"]) == [(2, "hi")]
    with pytest.raises(DataFault, match="no text column 'gone'"):
        read_inputs(path, "classification", {}, known, ["text=gone"])
    with pytest.raises(DataFault, match="pass --column text="):
        values(write(tmp_path, "b.csv", "a,b\n1,2\n"), "classification")
    with pytest.raises(UnrollError, match="--column"):
        values(path, "classification", None, "decimal=sometimes")


def test_tagged_files_give_their_words(tmp_path: Path) -> None:
    words = [["The", "cat"], ["It", "sat", "."]]
    columns = "The\tDT\ncat\tNN\n\nIt\tPRP\nsat\tVBD\n.\t.\n"
    lines = "".join(json.dumps({"words": each, "tags": ["O"] * len(each)}) + "\n" for each in words)
    assert values(write(tmp_path, "a.conll", columns), "tagging") == words
    assert values(write(tmp_path, "a.jsonl", lines), "tagging") == words
    assert values(write(tmp_path, "plain.txt", "The cat\n\nIt sat .\n"), "tagging") == ["The cat", None, "It sat ."]


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_a_folder_of_texts_has_a_file_of_them(task: str, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"this is a folder; give a file of texts, or a folder with seq\.in"):
        values(tmp_path, task)
    write(tmp_path, "seq.in", "play jazz\n")
    assert values(tmp_path, task) == ["play jazz"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ",Customer Message,Queue\n0,hello,x\n1,bye,y\n"),
        ("a.csv", "Timestamp,Your message\n5/13/2024 9:00,hello\n5/14/2024 9:00,bye\n"),
        ("a.txt", "text,label\nhello,x\nbye,y\n"),
        ("a.txt", "label\ttext\nx\thello\ny\tbye\n"),
    ],
)
def test_texts_are_found_where_training_finds_them(name: str, content: str, tmp_path: Path) -> None:
    """A model predicts the file it was trained on, though no column has a usual name, or the file is called a text."""
    assert values(write(tmp_path, name, content), "classification") == ["hello", "bye"]


@pytest.mark.parametrize(
    "content",
    [
        "lang,english_text,german_text\nde,hello,hallo\nde,bye,ciao\n",
        "question,query\nhello,select 1\nbye,select 2\n",
        "target,source\nhallo,hello\nciao,bye\n",
        "id,note\n7,hello\n9,bye\n",
    ],
)
def test_sources_are_found_where_training_finds_them(content: str, tmp_path: Path) -> None:
    """With or without targets, the sources are no ids, languages or targets."""
    assert values(write(tmp_path, "a.csv", content), "translation") == ["hello", "bye"]


def test_sources_of_translations_are_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "en\tde\nGood day.\tGuten Tag.\n")
    assert values(path, "translation") == ["Good day."]
    assert values(path, "translation", None, "source=de") == ["Guten Tag."]


def test_the_last_rows_of_a_series_come_with_their_times(tmp_path: Path) -> None:
    """Columns are found by name in any order, categories become zeros and ones, older gaps do not matter."""
    path = write(tmp_path, "a.csv", "wind,date,load\nNE,20231230,\nNE,20231231,2\nNW,20240101,3\n")
    assert values(path, "forecasting", SERIES) == [
        {"frames": [[2.0, 1.0], [3.0, 0.0]], "times": ["2023-12-31", "2024-01-01"]}
    ]
    known = {"time_column": "Month", "group_column": "who"}
    assert len(read_inputs(path, "forecasting", SERIES, known, [])) == 1
    with pytest.raises(DataFault, match="no time column 'Month'"):
        values(path, "forecasting", SERIES, "time=Month")
    gap = write(tmp_path, "gap.csv", "wind,date,load\nNE,20231230,1\nNE,20231231,2\nNW,20240101,\n")
    with pytest.raises(DataFault, match=r"gap.csv:4: 'load' is missing, 1 rows before the end"):
        values(gap, "forecasting", SERIES)
    with pytest.raises(DataFault, match="no column 'load'"):
        values(write(tmp_path, "b.csv", "wind,date,power\nNE,20231230,1\n"), "forecasting", SERIES)


def test_frames_are_cut_at_their_sequences(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "sequence,y,x,label\ns1,1,2,up\ns1,3,4,up\ns2,5,6,dn\n")
    assert values(path, "classification", FRAMES) == [{"frames": [[2.0, 1.0], [4.0, 3.0]]}, {"frames": [[6.0, 5.0]]}]
    one = write(tmp_path, "one.csv", "x,y\n1,2\n3,4\n5,6\n")
    assert values(one, "classification", FRAMES) == [{"frames": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}]
    windows = values(one, "classification", FRAMES, "window=2", "stride=1")
    assert windows == [{"frames": [[1.0, 2.0], [3.0, 4.0]]}, {"frames": [[3.0, 4.0], [5.0, 6.0]]}]
    with pytest.raises(DataFault, match="no column 'y', which the model takes; the columns are: x, z"):
        values(write(tmp_path, "z.csv", "x,z\n1,2\n"), "classification", FRAMES)


def test_features_without_names_are_taken_in_order(tmp_path: Path) -> None:
    model = {"signal": {"kind": "frames", "features": ["feature 1", "feature 2"]}}
    path = write(tmp_path, "a.csv", "sequence,y,x,label\ns1,1,2,up\n")
    assert values(path, "classification", model) == [{"frames": [[1.0, 2.0]]}]
    with pytest.raises(DataFault, match="the features are a, b, c; the model takes 2 numbers"):
        values(write(tmp_path, "b.csv", "a,b,c\n1,2,4\n"), "classification", model)


def test_arrays_and_lines_of_frames(tmp_path: Path) -> None:
    x = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0, 1]))
    np.savez(tmp_path / "b.npz", frames=x, labels=np.array([1, 2]))
    np.savez(tmp_path / "c.npz", frames=x)
    for name in ("a.npz", "b.npz", "c.npz"):
        assert values(tmp_path / name, "classification", FRAMES) == [{"frames": each.tolist()} for each in x]
    np.savez(tmp_path / "d.npz", y=np.array([0, 1]))
    with pytest.raises(DataFault, match=r"x \(or frames\) must be"):
        values(tmp_path / "d.npz", "classification", FRAMES)
    lines = write(tmp_path, "a.jsonl", '{"frames": [[1, 2]], "label": "up"}\n\n{"frames": [[3, 4]]}\n')
    assert values(lines, "classification", FRAMES) == [{"frames": [[1, 2]]}, {"frames": [[3, 4]]}]
    with pytest.raises(DataFault, match=r"a\.jsonl:1: no frames"):
        values(write(tmp_path, "a.jsonl", '{"x": 1}\n'), "classification", FRAMES)


def test_sounds_of_a_folder_or_an_index(tmp_path: Path) -> None:
    """Labels are not needed: any sound below the folder counts, or what an index names; a damaged one is named."""
    content = [wav_file(record) for record in sounds()[:2]]
    for name, data in zip(("b/1.WAV", "2.wav"), content, strict=True):
        write(tmp_path, f"all/{name}", "").write_bytes(data)
    write(tmp_path, "all/._2.wav", "no sound")
    wanted = [{"wav": base64.b64encode(data).decode()} for data in content]
    assert values(tmp_path / "all", "classification", SOUND) == wanted[::-1]
    assert [name for name, _ in read_inputs(tmp_path / "all", "classification", SOUND, {}, [])] == ["2.wav", "b/1.WAV"]
    index = write(tmp_path, "index.csv", "file\nall/b/1.wav\nall/2.wav\n")
    assert values(index, "classification", SOUND) == wanted
    write(tmp_path, "all/2.wav", "fLaC")
    with pytest.raises(DataFault, match=r"index\.csv:3: cannot be read: the FLAC file is damaged"):
        values(index, "classification", SOUND)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataFault, match="no WAV file"):
        values(tmp_path / "none", "classification", SOUND)


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    data = shape_picture("red", "square")
    write(tmp_path, "p/1.PNG", "").write_bytes(data)
    assert values(tmp_path / "p", "captioning") == [{"png": base64.b64encode(data).decode()}]
    index = write(tmp_path, "p/index.csv", "file,caption\n1.png,a cat\n")
    assert values(index, "captioning") == [{"png": base64.b64encode(data).decode()}]
