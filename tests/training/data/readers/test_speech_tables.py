"""Tables of sounds and texts: columns, where the sounds are, what is left out and what is doubted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.training.data.readers.speech_files import put, read, texts
from training.data.check import run
from training.data.formats.faults import DataFault
from training.data.readers.speech.description import alphabet_of
from training.data.readers.speech.entries import least_steps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.WAV", "clips/c.wav"):
        put(tmp_path / name)
    return tmp_path


def write(folder: Path, text: str, name: str = "x.tsv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def test_usual_columns_are_taken(folder: Path) -> None:
    """As Common Voice names them; blanks in texts are evened out, and the speaker is the group."""
    table = write(folder, "client_id\tpath\tsentence\nanna\tc.wav\t Hello   you \nben\ta.wav\tno\n")
    records, report = read(table)
    assert [(one.text, one.group, one.sample_rate_hz, len(one.values)) for one in records] == [
        ("Hello you", "anna", 1000, 1000),
        ("no", "ben", 1000, 1000),
    ]
    assert report.understood[str(table)]["characters"] == "8: H e l n o u y space"


@pytest.mark.parametrize(
    "name",
    ["a.wav", "a", "A.wav", "./a.wav", "b.wav", "c", "clips\\c.wav", "clips/c", "C:\\data\\a.wav", "/gone/c.wav"],
)
def test_a_sound_is_found_by_what_people_write(name: str, folder: Path) -> None:
    """Without its suffix, in another case, in a usual folder, with Windows slashes, by the path of another machine."""
    assert texts(write(folder, f"file\ttext\n{name}\tyes\n")) == ["yes"]


def test_whole_paths_and_archives_are_read(folder: Path) -> None:
    """A manifest of JSON lines may name whole paths; sounds may be in an archive of the table's name."""
    lines = json.dumps({"audio_filepath": str(folder / "a.wav"), "duration": 1.0, "text": "go"})
    assert texts(write(folder, lines + "\n", "m.json")) == ["go"]
    with zipfile.ZipFile(folder / "z.zip", "w") as packed:
        packed.write(folder / "a.wav", "deep/q.wav")
    assert texts(write(folder, "file\ttext\ndeep/q.wav\tin\n", "z.tsv")) == ["in"]


def test_a_table_without_names_of_columns_is_understood(folder: Path) -> None:
    """The column of sounds is the one that names some, the text the last long one: as in LJSpeech."""
    assert texts(write(folder, "a|In 1455|in fourteen fifty\nc|No|no\n", "metadata.csv")) == ["in fourteen fifty", "no"]


def test_what_cannot_be_aligned_is_left_out_and_counted(folder: Path) -> None:
    """Sounds without a text, and those too short for theirs, are no faults: the number and the first are told."""
    put(folder / "short.wav", 0.1)
    table = write(folder, "file\ttext\na.wav\tyes\nb.WAV\t\nclips/c.wav\t  \nshort.wav\tfar too long a text\n")
    records, report = read(table)
    said = [str(warning) for warning in report.warnings]
    assert ([one.text for one in records], report.faults) == (["yes"], [])
    assert any(":3: left out: 2 sounds without a text; the first: b.WAV" in one for one in said)
    assert any(":5: left out: 1 sound too short for the text; the first: short.wav lasts 0.10 s" in one for one in said)


def test_faults_name_line_and_reason(folder: Path) -> None:
    """A sound that is missing, one that is none, and a row without one; the others are read."""
    (folder / "text.wav").write_text("hello")
    _, report = read(write(folder, "file\ttext\ngone.wav\tyes\ntext.wav\tyes\n\tyes\na.wav\tyes\n"))
    assert [fault.line for fault in report.faults] == [2, 3, 4]
    assert "gone.wav cannot be read" in str(report.faults[0])
    assert "text.wav: this is no sound file" in str(report.faults[1])


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("file\tlabel\na.wav\tyes\n", "no column of texts among: file, label; pass --column text="),
        ("words\tother\nx\ty\n", "no column of file names among"),
        ("", "no column of file names among: none"),
    ],
)
def test_a_table_that_is_none_of_speech_is_explained(table: str, what: str, folder: Path) -> None:
    with pytest.raises(DataFault, match=what):
        read(write(folder, table))


def test_a_damaged_archive_is_named(folder: Path) -> None:
    (folder / "x.zip").write_bytes(b"PK, but no archive")
    with pytest.raises(DataFault, match=r"x\.zip: the archive of the sounds is damaged"):
        read(write(folder, "file\ttext\na.wav\tyes\n"))


def test_utf_16_is_read_if_it_is_named(folder: Path) -> None:
    table = write(folder, "file,text\na.wav,ja\n", "x.csv", "utf-16")
    with pytest.raises(DataFault, match="encoding=utf-16"):
        read(table)
    assert texts(table, encoding="utf-16") == ["ja"]


def test_a_folder_needs_one_table(folder: Path) -> None:
    """Numbered parts are one table; splits are named with the options to pass."""
    for part in ("part-000", "part-001"):
        write(folder, f"file\ttext\na.wav\t{part}\n", f"{part}.tsv")
    assert texts(folder) == ["part-000", "part-001"]
    for split in ("train", "dev"):
        write(folder, "file\ttext\na.wav\tyes\n", f"{split}.tsv")
    with pytest.raises(DataFault, match=f"--train {folder}/train.tsv --dev {folder}/dev.tsv"):
        read(folder)


def test_unlikely_texts_are_doubted(folder: Path) -> None:
    """Digits among words, a column of durations as text, and a text that is far too fast for the others."""
    rows = "".join(f"a.wav\tsay yes {'on and on ' * (number == 7)}\n" for number in range(12))
    _, report = read(write(folder, "file\ttext\nb.WAV\troom 5\n" + rows))
    said = " ".join(str(warning) for warning in report.warnings)
    assert "1 of 13 texts have digits, such as 'room 5'; write numbers in words" in said
    _, report = read(write(folder, "file\tseconds\na.wav\t1.0\n"), text_column="seconds")
    assert "holds only numbers" in str(report.warnings[0])
    put(folder / "long.wav", 40)
    _, report = read(write(folder, "file\ttext\nlong.wav\tyes\n" + rows))
    assert any("1 spoken much slower than usual" in str(warning) for warning in report.warnings)


def test_check_compares_sounds(folder: Path) -> None:
    """Many say the same text: it is the same sound that is a leak, and with another text a conflict."""
    train = write(folder, "file\ttext\na.wav\tyes\na.wav\tno\nb.WAV\tyes\n")
    report = run("transcription", str(train), str(write(folder, "file\ttext\nclips/c.wav\tyes\nb.WAV\tyes\n", "d.tsv")))
    assert (report.splits[0].conflicts, report.splits[0].duplicates, report.splits[0].length_unit) == (1, 0, "samples")
    assert (report.comparisons[0].leaks, report.understood[str(train)]["sound"]) == (1, "0.1 minutes")


def test_an_alphabet_is_shortened() -> None:
    assert alphabet_of(["abc dz!", "'é5"]) == "10: 5 a-d z é space ! '"


def test_two_equal_characters_need_a_blank_between_them() -> None:
    assert (least_steps("hello"), least_steps("aaa"), least_steps("")) == (6, 5, 0)
