"""Columns of texts, labels and pairs: the likely ones are taken, the unlikely ones doubted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.bundle.task_options import TrainedTask
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located
from training.data.records import LabelledText, SentencePair


def table(folder: Path, header: str, rows: list[str]) -> Path:
    path = folder / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(task: TrainedTask, path: Path, **options: Any) -> tuple[list[Any], list[str]]:
    report = Report(strict=False)
    found = read_located(task, path, ReadOptions(**options), report)
    assert report.faults == []
    return [one.record for one in found], [str(warning) for warning in report.warnings]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("name,text_clean,target", "id1,hello,a"),
        ("review_id,Review Text,Rating", "id1,hello,a"),
        ("title,cleanedTweet,sentiment_class", "x,hello,a"),
        ("text_id,text_length,text,category", "7,5,hello,a"),
        ("id,whatever,label", "9,hello,a"),
        ("label,label_text,sentence", "a,positive,hello"),
    ],
)
def test_names_that_contain_a_usual_one_are_found(header: str, row: str, tmp_path: Path) -> None:
    """`clean_text` is a text; ids, lengths and weak names such as `title` are not taken in its place."""
    assert read("classification", table(tmp_path, header, [row]))[0] == [LabelledText("hello", "a")]


def test_an_id_is_not_taken_for_the_label(tmp_path: Path) -> None:
    """Where the only other column names the rows, the label is asked for."""
    path = table(tmp_path, "text,user_id", [f"some text {n},u{n}" for n in range(12)])
    with pytest.raises(DataFault, match="no label column among: text, user_id"):
        read_located("classification", path)


@pytest.mark.parametrize(
    ("header", "row", "doubt"),
    [
        ("text,label", "{n},{ab}", "text column `text` holds only numbers"),
        ("text,label", "https://x.org/{n},{ab}", "text column `text` holds only addresses"),
        ("text,label", "some text {n},x{n}", "label column `label` has 20 different values in 20 rows"),
        ("text,label", "some text {n},{fifth}", "label column `label` holds measured numbers"),
        ("title,story,label", "T {n},a story that goes on for long {n},{ab}", "much shorter texts than `story`"),
    ],
)
def test_unlikely_columns_are_doubted(header: str, row: str, doubt: str, tmp_path: Path) -> None:
    """A warning names the column, and the option that takes another one."""
    rows = [row.format(n=n, ab="ab"[n % 2], fifth=n % 15 / 5) for n in range(20)]
    _, warnings = read("classification", table(tmp_path, header, rows))
    assert [doubt in warning and "--column" in warning for warning in warnings] == [True]


def test_labels_in_two_spellings_are_doubted(tmp_path: Path) -> None:
    _, warnings = read("classification", table(tmp_path, "text,label", ["hi,Spam", "yo,spam", "ho,ham"]))
    assert ["`Spam` and `spam`" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id,en,de", "0,Go.,Geh."),
        ("target,source", "Geh.,Go."),
        ("en,url,de", "Go.,https://x.org,Geh."),
        ("en,date,de,note", "Go.,,Geh.,"),
        ("src,tgt,score", "Go.,Geh.,0.9"),
    ],
)
def test_pairs_are_of_texts(header: str, row: str, tmp_path: Path) -> None:
    """Ids, addresses, numbers and empty columns are passed over, and names say which is the source."""
    assert read("translation", table(tmp_path, header, [row]))[0] == [SentencePair("Go.", "Geh.")]


def test_a_language_called_id_is_no_id(tmp_path: Path) -> None:
    """`id` is Indonesian where its cells are texts."""
    found, _ = read("translation", table(tmp_path, "it,id,fr", ["Ciao a tutti,Halo semua,Salut"]))
    assert found == [SentencePair("Ciao a tutti", "Halo semua")]
