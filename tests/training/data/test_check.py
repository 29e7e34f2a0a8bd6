"""The data check: its findings, their locations, and its output."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from service.bundle.task_options import TrainedTask
from training.data import check as check_data
from training.data.check import DataReport


def write(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def rendered(report: DataReport) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    check_data.render(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def labelled(tmp_path: Path) -> DataReport:
    """Texts with a duplicate, a conflict, a bad row, a leak and a new label."""
    rows = ["label\ttext", "a\tone two three", "a\tOne, two three!", "b\tone two three", "b\tfour", "b"]
    train = write(tmp_path, "train.tsv", "\n".join(rows))
    dev = write(tmp_path, "dev.tsv", "label\ttext\na\tfour\nnew\tfive four\n")
    return check_data.run("classification", train, dev)


def test_faults_name_file_and_line(labelled: DataReport) -> None:
    """A short row is a fault, and the exit code reports it."""
    (fault,) = labelled.faults
    assert (Path(fault.path).name, fault.line) == ("train.tsv", 6)
    assert "the header names 2: label, text" in fault.what
    assert labelled.exit_code == 1


def test_repeats_and_conflicts(labelled: DataReport) -> None:
    """Ignoring case and punctuation, equal labels are duplicates and different labels are conflicts."""
    train = labelled.splits[0]
    assert (train.duplicates, train.duplicate_lines) == (1, [(2, 3)])
    assert (train.conflicts, train.conflict_lines) == (1, [(2, 4)])


def test_balance_and_lengths(labelled: DataReport) -> None:
    """Labels are sorted by frequency, and length bins of doubling width cover every record."""
    train = labelled.splits[0]
    assert train.labels == {"a": 2, "b": 2}
    assert [(bar.shortest, bar.longest, bar.count) for bar in train.lengths] == [(1, 1, 1), (2, 2, 0), (3, 4, 3)]
    assert (train.records, train.tokens, train.max_length) == (4, 10, 3)


def test_leaks_unknown_words_and_new_labels(labelled: DataReport) -> None:
    """Records shared by train and dev, and the tokens and labels of dev that train lacks, are reported."""
    (dev,) = labelled.comparisons
    assert (dev.leaks, dev.leak_lines) == (1, [(5, 2)])
    assert (dev.unknown_tokens, dev.out_of_vocabulary) == (1, pytest.approx(100 / 3))
    assert dev.unseen_labels == {"new": 1}


def test_rendering_shows_everything(labelled: DataReport) -> None:
    """The rendered report has the location of the fault, the bars, the shares and the verdict."""
    text = rendered(labelled)
    assert "train.tsv:6: the number of columns is 1" in text
    assert "█" in text
    assert "33.33 %" in text
    assert "new (1)" in text
    assert "1 fault, " in text


def test_json_goes_both_ways(labelled: DataReport) -> None:
    """The JSON form round-trips without loss."""
    assert DataReport.model_validate_json(labelled.model_dump_json()) == labelled


def test_illegal_tags_are_warnings_with_lines(tmp_path: Path) -> None:
    """An inside tag without a preceding span is reported with its line; the file remains usable."""
    report = check_data.run("tagging", write(tmp_path, "a.conll", "a B-X\n\nb O\nc I-X\n"))
    assert [(warning.line, warning.what[:11]) for warning in report.warnings] == [(4, "I-X after O")]
    assert report.exit_code == 0


def test_unreadable_files_are_in_the_report(tmp_path: Path) -> None:
    """A missing file and a file without the columns are reported as faults, not raised."""
    report = check_data.run("classification", str(tmp_path / "no.tsv"), write(tmp_path, "d.csv", "a,b,c\n1,2,3\n"))
    assert ["no such file" in str(fault) or "no text column" in str(fault) for fault in report.faults] == [True, True]
    assert "2 faults" in rendered(report)


@pytest.mark.parametrize(
    ("task", "content", "unit"),
    [
        ("translation", "en\tde\nHi there.\tHallo.\nHi there.\tGuten Tag.\n", "source words"),
        ("generation", "a line that is long enough to be told from all others\n" * 2, "characters per line"),
    ],
)
def test_other_tasks_have_their_own_units(tmp_path: Path, task: TrainedTask, content: str, unit: str) -> None:
    """Two translations of a sentence are no conflict; a repeated long line is a duplicate."""
    report = check_data.run(task, write(tmp_path, "a.tsv", content))
    split = report.splits[0]
    assert (split.length_unit, split.conflicts) == (unit, 0)
    assert split.duplicates == (1 if task == "generation" else 0)
    assert unit in rendered(report)


def test_markup_in_the_data_is_printed_as_it_is(tmp_path: Path) -> None:
    """A label such as [/red] neither breaks nor colours the report."""
    report = check_data.run("classification", write(tmp_path, "a.tsv", "label\ttext\n[/red]\tx\n"))
    assert "[/red]" in rendered(report)
