"""Columns that no usual name tells: rows that sort, date or name others are passed over, and data is no header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.bundle.task_options import TrainedTask
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located
from training.data.records import SentencePair


def table(folder: Path, header: str, rows: list[str]) -> Path:
    path = folder / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(task: TrainedTask, path: Path, **options: Any) -> tuple[list[Any], Report]:
    report = Report(strict=False)
    found = read_located(task, path, ReadOptions(**options), report)
    assert report.faults == []
    return [one.record for one in found], report


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("lang,english_text,german_text", "de,Go {n}.,Geh {n}."),
        ("category,src_txt,tgt_txt", "news,Go {n}.,Geh {n}."),
        ("date,english,deutsch", "2024-01-05,Go {n}.,Geh {n}."),
        ("split,one,two", "train,Go {n}.,Geh {n}."),
        ("clip,one,two", "clip_{n}.wav,Go {n}.,Geh {n}."),
    ],
)
def test_no_side_of_pairs_is_what_sorts_or_dates_the_rows(header: str, row: str, tmp_path: Path) -> None:
    """Languages, domains, dates, parts and names of files before the texts are passed over."""
    first, *_ = read("translation", table(tmp_path, header, [row.format(n=n) for n in range(4)]))[0]
    assert first == SentencePair("Go 0.", "Geh 0.")


def test_rows_with_codes_of_languages_are_no_header(tmp_path: Path) -> None:
    """`eng` and `deu` in each row of a table without a header name no columns."""
    rows = ["13,eng,Hi.,80,deu,Hallo.", "14,eng,Run!,83,deu,Lauf!"]
    found, report = read("translation", table(tmp_path, "12,eng,Go.,77,deu,Geh.", rows))
    assert found[0] == SentencePair("Go.", "Geh.")
    assert len(found) == 3
    assert "the first row is read as data" in str(report.warnings[0])


@pytest.mark.parametrize("first", ["spam,free message", "3,Title of news"])
def test_a_first_row_that_is_like_the_others_is_data(first: str, tmp_path: Path) -> None:
    """A word that may name a column does not make a header of a row whose other cell is a label or a number."""
    start = first.split(",", maxsplit=1)[0]
    path = table(tmp_path, first, [f"{start},win now", f"{start},hi you"])
    _, report = read("classification", path, text_column="2", label_column="1")
    assert report.understood[str(path)]["header"] == "none"


def test_a_wide_table_of_years_has_a_header(tmp_path: Path) -> None:
    """Numbers that count on name columns, beside a word that does."""
    path = table(tmp_path, "Country Name,1960,1961", ["Chad is,1,2", "Peru is,3,4"])
    _, report = read("classification", path, text_column="Country Name", label_column="1961")
    assert report.understood[str(path)]["header"] == "line 1"


@pytest.mark.parametrize(
    ("header", "rows", "label"),
    [
        ("message,file,spam", [f"text {n},mail{n}.eml,{n % 2}" for n in range(6)], "spam"),
        ("Timestamp,message,Team", [f"5/1{n}/2024 13:01:22,text {n},team {n % 2}" for n in range(6)], "Team"),
    ],
)
def test_labels_are_no_dates_and_no_names_of_files(header: str, rows: list[str], label: str, tmp_path: Path) -> None:
    """Of the columns that are left, the label is one whose values come again, numbers or not."""
    path = table(tmp_path, header, rows)
    _, report = read("classification", path)
    assert report.understood[str(path)]["label"] == f"`{label}`"


def test_a_label_is_not_guessed_among_several(tmp_path: Path) -> None:
    """Stars and a date beside a text: neither is taken without a word."""
    rows = [f"x{n},{n % 2},1,text {n},2014-01-01" for n in range(6)]
    path = table(tmp_path, "review_id,stars,useful,text,date", rows)
    with pytest.raises(DataFault, match=r"no label column .*pass --column label="):
        read("classification", path)


def test_names_of_files_are_doubted_as_texts(tmp_path: Path) -> None:
    """An index of sounds that is read as a table of texts is warned of."""
    _, report = read("classification", table(tmp_path, "fname,label", ["0.wav,dog", "1.wav,cat"]))
    assert "holds only names of files" in str(report.warnings[0])


@pytest.mark.parametrize("cell", ["NaN", "null", "#NAME?", "#N/A"])
@pytest.mark.parametrize("row", ["{},a", "hi,{}"])
def test_cells_that_stand_for_nothing_are_doubted(cell: str, row: str, tmp_path: Path) -> None:
    """A text or a label that a program wrote for a missing value is told with its line."""
    _, report = read("classification", table(tmp_path, "text,label", ["yo,a", row.format(cell)]))
    assert f"a.csv:3: column `{'text' if row.startswith('{') else 'label'}` holds `{cell}`" in str(report.warnings[0])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", "__label__spam Win now, call\n", "in fastText's form"),
        ("a.arff", "@RELATION x\n", "ARFF"),
        ("a.ts", "@problemName x\n", "sktime"),
        ("a.tmx", '<?xml version="1.0"?>\n', "is XML"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n' * 2, "no text column"),
        (
            "a.jsonl",
            '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": ["x"]}\n',
            "'labels' is a list of several",
        ),
        ("a.csv", "subject,ax,ay,activity\n1,0.5,1,walk\n2,0.5,1,run\n", "pass --column sequence="),
    ],
)
def test_other_layouts_are_refused_by_name(name: str, content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataFault, match=what):
        read_located("classification", tmp_path / name)
