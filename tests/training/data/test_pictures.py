"""Captioned pictures from files or archives with an index; faults are reported by file and line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.tiny_pictures import shape_pictures, write_pictures
from training.data import check as check_data
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import CaptionedPicture
from training.data.split import split_records


def test_files_beside_an_index_are_read(tmp_path: Path) -> None:
    """A TSV index with common column names is read: file, caption and artist."""
    records = shape_pictures(4)
    assert read_records("captioning", write_pictures(tmp_path, records)) == records


def test_csv_and_jsonl_are_as_good(tmp_path: Path) -> None:
    (record,) = shape_pictures(1)
    (tmp_path / "one.png").write_bytes(record.png)
    (tmp_path / "a.csv").write_text('image,caption\none.png,"red, and square"\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"path": "one.png", "text": "a square"}) + "\n", encoding="utf-8")
    assert read_records("captioning", tmp_path / "a.csv") == [CaptionedPicture(record.png, "red, and square")]
    assert read_records("captioning", tmp_path / "b.jsonl") == [CaptionedPicture(record.png, "a square")]


def test_files_in_archives_of_the_same_name_are_read(tmp_path: Path) -> None:
    """`train.tsv` names members of `train.zip` and of `train_ann.zip`; another column can hold the captions."""
    records = shape_pictures(2)
    for archive, name, record in zip(("train.zip", "train_ann.zip"), ("x/1.png", "2.png"), records, strict=True):
        with zipfile.ZipFile(tmp_path / archive, "w") as members:
            members.writestr(name, record.png)
    (tmp_path / "train.tsv").write_text("file\tde\nx/1.png\teins\n2.png\tzwei\n", encoding="utf-8")
    read = read_records("captioning", tmp_path / "train.tsv", ReadOptions(text_column="de"))
    assert read == [CaptionedPicture(records[0].png, "eins"), CaptionedPicture(records[1].png, "zwei")]


def test_each_fault_is_named_with_its_line(tmp_path: Path) -> None:
    """A missing picture, a non-PNG file, a damaged file and an empty caption are faults; valid records are counted."""
    index = write_pictures(tmp_path, shape_pictures(5))
    (tmp_path / "pictures-0.png").unlink()
    (tmp_path / "pictures-1.png").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "pictures-2.png").write_bytes((tmp_path / "pictures-2.png").read_bytes()[:60])
    lines = index.read_text(encoding="utf-8").splitlines()
    lines[4] = lines[4].split("\t")[0] + "\t \tann"
    index.write_text("\n".join(lines), encoding="utf-8")
    report = check_data.run("captioning", str(index))
    said = {(finding.line, finding.what) for finding in report.faults}
    assert [line for line, _ in sorted(said, key=lambda each: each[0] or 0)] == [2, 3, 4, 5]
    text = " ".join(what for _, what in said)
    for reason in ("cannot be read", "a JPEG file", "damaged or cut short", "'caption' is empty"):
        assert reason in text
    assert report.splits[0].records == 1


def test_the_same_picture_with_another_caption_is_a_conflict(tmp_path: Path) -> None:
    (record,) = shape_pictures(1)
    index = write_pictures(tmp_path, [record, record, record._replace(caption="something else")])
    profile = check_data.run("captioning", str(index)).splits[0]
    assert (profile.duplicates, profile.conflicts) == (1, 1)
    assert profile.mean_length == pytest.approx((3 + 3 + 2) / 3)


def test_an_index_without_captions_says_which_option_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,words\none.png,red\n", encoding="utf-8")
    with pytest.raises(DataFault, match="no column of captions found; pass --column text="):
        read_records("captioning", tmp_path / "a.csv")


def test_equal_pictures_are_never_on_both_sides_of_a_split() -> None:
    records = shape_pictures(60)
    parts = split_records(records, 0.3)
    assert parts.train
    assert parts.dev
    assert not {record.png for record in parts.train if isinstance(record, CaptionedPicture)} & {
        record.png for record in parts.dev if isinstance(record, CaptionedPicture)
    }


def test_a_folder_with_one_index_is_read(tmp_path: Path) -> None:
    """Suffixes in any case; two indices, or none, are a fault that says what is needed."""
    index = write_pictures(tmp_path, shape_pictures(2))
    (tmp_path / "pictures-1.png").rename(tmp_path / "pictures-1.PNG")
    assert len(read_records("captioning", tmp_path)) == 2
    (tmp_path / "._pictures.tsv").write_text("file\n", encoding="utf-8")
    assert len(read_records("captioning", tmp_path)) == 2
    (tmp_path / "more.csv").write_text(index.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataFault, match=r"more.csv, pictures.tsv; put one table"):
        read_records("captioning", tmp_path)
