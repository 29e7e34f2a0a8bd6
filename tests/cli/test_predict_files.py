"""`unroll predict` with files: read as in training, row by row, in chunks, in this process and from a server."""

from __future__ import annotations

import csv
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import commands as cli
from service.cli.prediction import answers as chunks
from service.cli.prediction.answers import Answered, RefusedInput, answers
from service.cli.prediction.arguments import InputRow
from service.cli.prediction.output_file import write_answers
from service.errors import UnrollError
from tests.training.tiny_series import forecaster, publish_forecaster, write_table

runner = CliRunner()
READER = EntryPoint("training", "training.data.inputs:read_inputs", "unroll.readers")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point of the reader, wherever the package was installed from."""
    usual = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [READER] if group == READER.group else usual(group=group)
    )


def run(*arguments: str, text: str | None = None, code: int = 0) -> str:
    """The output of a command that ends with this code: of a failed one, its message of one line."""
    result = runner.invoke(cli.app, ["predict", *arguments], input=text)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series") / "models"
    publish_forecaster(forecaster(mixing="joint"), folder)
    return folder


def test_a_file_of_texts_is_read_and_not_labelled_as_a_text(tiny_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text("text,label\nhello,x\n,x\nworld one,y\n", encoding="utf-8")
    options = ["--models", str(tiny_models), "-m", "tiny-classifier"]
    both = run(*options, "hello", "world one").splitlines()
    assert run(*options, str(path)).splitlines() == [both[0], "", both[1]]
    assert len(json.loads(run(*options, str(path), "--json"))["predictions"]) == 2


def test_a_file_that_is_not_there_is_said(tiny_models: Path) -> None:
    message = run("--models", str(tiny_models), "-m", "tiny-classifier", "mails.tsv", code=2)
    assert "mails.tsv: there is no such file" in message


def test_the_out_file_has_a_row_for_each_row(tiny_models: Path, tmp_path: Path) -> None:
    """Blank lines keep their place, refused ones have their reason, and the command says how many there were."""
    options = ["--models", str(tiny_models), "-m", "tiny-classifier"]
    text = f"hello\n\n{'word ' * 3000}\nworld one\n"
    out = tmp_path / "labels.csv"
    assert "1 inputs were refused" in run(*options, "--out", str(out), text=text, code=2)
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [bool(row["label"]) for row in rows] == [True, False, False, True]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    lines = tmp_path / "labels.jsonl"
    run(*options, "--out", str(lines), text="hello\n\nworld one\n")
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [found[0]["label"], found[1], found[2]["label"]] == [rows[0]["label"], None, rows[3]["label"]]


def test_tags_are_written_beside_their_words(tiny_models: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "a.conll", tmp_path / "tags.tsv"
    path.write_text("The\tDT\ncat\tNN\n\nIt\tPRP\n", encoding="utf-8")
    run("--models", str(tiny_models), "-m", "tiny-tagger", str(path), "--out", str(out))
    rows = [line.split("\t") for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == ["words", "The cat", "It"]
    assert [len(row[1].split()) for row in rows[1:]] == [2, 1]


@pytest.mark.parametrize(("model", "num_heads"), [("tiny-tagger", 0), ("tiny-parser", 1)])
def test_tags_and_trees_are_written_as_conllu(tiny_models: Path, tmp_path: Path, model: str, num_heads: int) -> None:
    """A row without an answer has no sentence, and the numbers of the sentences tell which it was."""
    out = tmp_path / "found.conllu"
    text = f"the cat sat.\n\n{'word ' * 3000}\nAda lives\n"
    run("--models", str(tiny_models), "-m", model, "--out", str(out), text=text, code=2)
    first, second = out.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    assert [one.splitlines()[:2] for one in (first, second)] == [
        ["# sent_id = 1", "# text = the cat sat."],
        ["# sent_id = 4", "# text = Ada lives"],
    ]
    columns = [line.split("\t") for line in first.splitlines()[2:]]
    assert [row[1] for row in columns] == ["the", "cat", "sat", "."]
    assert {len(row) for row in columns} == {10}
    assert [row[6] for row in columns].count("0") == num_heads
    assert columns[2][9] == "SpaceAfter=No"


def test_conllu_is_refused_where_answers_have_no_words(tiny_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.conllu"
    message = run("--models", str(tiny_models), "-m", "tiny-classifier", "hello", "--out", str(out), code=2)
    assert "CoNLL-U is for tagging and parsing, not for classification" in message
    assert not out.exists()


def test_a_tree_is_printed_as_numbered_words(tiny_models: Path) -> None:
    """With the number of each head; or as CoNLL-U, if that is asked for."""
    options = ["--models", str(tiny_models), "-m", "tiny-parser", "the cat sat"]
    lines = [line.split("\t") for line in run(*options).splitlines() if line]
    assert [line[:2] for line in lines] == [["1", "the"], ["2", "cat"], ["3", "sat"]]
    columns = [line.split("\t") for line in run(*options, "-p", "conllu=true").splitlines()[1:] if line]
    assert [(line[2], line[3], line[4]) for line in lines] == [(row[3], row[6], row[7]) for row in columns]


def test_trees_are_columns_of_a_table(tiny_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "trees.csv"
    run("--models", str(tiny_models), "-m", "tiny-parser", "the cat sat", "hello", "--out", str(out))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["words", "tags", "heads", "relations", "error"]
    assert (rows[1]["heads"], rows[1]["relations"]) == ("0", "root")
    assert rows[0]["heads"].split().count("0") == 1


@pytest.mark.parametrize(
    ("name", "what"), [("a.xml", ".csv, .tsv, .jsonl"), ("no/such/folder/a.csv", "cannot be written")]
)
def test_an_out_file_that_cannot_be_written_is_said_before_the_work(
    name: str, what: str, tiny_models: Path, tmp_path: Path
) -> None:
    message = run("--models", str(tiny_models), "-m", "tiny-classifier", "hello", "--out", str(tmp_path / name), code=2)
    assert what in message


def test_a_refused_file_leaves_no_empty_answers(tiny_models: Path, tmp_path: Path) -> None:
    """Nothing is written before the input is read, and answers of an earlier call stay."""
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    out = tmp_path / "labels.csv"
    command = ["--models", str(tiny_models), "-m", "tiny-classifier", str(tmp_path / "bad.csv"), "--out", str(out)]
    run(*command, code=2)
    assert not out.exists()
    out.write_text("label\n", encoding="utf-8")
    run(*command, code=2)
    assert out.read_text(encoding="utf-8") == "label\n"


def test_what_was_read_is_told(tiny_models: Path, tmp_path: Path) -> None:
    """The column that the texts come from is named on standard error, beside the answers."""
    path = tmp_path / "tickets.csv"
    path.write_text("Ticket ID,Customer Message,Queue\n1,hello,x\n2,world one,y\n", encoding="utf-8")
    result = runner.invoke(cli.app, ["predict", "--models", str(tiny_models), "-m", "tiny-classifier", str(path)])
    assert "text: `Customer Message`" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_answers_to_files_of_a_folder_have_their_names(tmp_path: Path) -> None:
    """Only the folder knows the order of its files."""
    names = ["b.wav", "a.wav"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = [Answered(InputRow(str(tmp_path / name), None), {"label": name[0], "score": 1.0}) for name in names]
    write_answers(tmp_path / "out.csv", "classification", (), found, with_input=True)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["label"], row["input"]) for row in rows] == [(name[0], str(tmp_path / name)) for name in names]


def test_the_file_that_is_read_is_not_overwritten(tiny_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\nhello\n", encoding="utf-8")
    message = run("--models", str(tiny_models), "-m", "tiny-classifier", str(path), "--out", str(path), code=2)
    assert "this is the file that is read" in message
    assert path.read_text(encoding="utf-8") == "text\nhello\n"


def test_a_forecaster_reads_its_training_file_by_the_names_of_columns(models: Path, tmp_path: Path) -> None:
    """In any order, with the times in the answer; without a header in its own order; a wrong name is refused."""
    path = write_table(tmp_path / "a.csv", 40)
    named = run("--models", str(models), str(path)).splitlines()
    assert named[0].split("\t") == ["time", "load", "wind"]
    assert named[1].startswith("2020-02-28T16:00:00\t")
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("".join(",".join(reversed(row)) + "\n" for row in rows), encoding="utf-8")
    assert run("--models", str(models), str(mixed)).splitlines() == named
    bare = tmp_path / "bare.csv"
    bare.write_text("".join(",".join(row[1:]) + "\n" for row in rows[1:]), encoding="utf-8")
    assert [line.split("\t")[1:] for line in named] == [
        line.split("\t") for line in run("--models", str(models), str(bare)).splitlines()
    ]
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b,c\n" + bare.read_text(encoding="utf-8"), encoding="utf-8")
    assert "no column 'load'" in run("--models", str(models), str(wrong), code=2)
    first = tmp_path / "first.csv"
    first.write_text("1,NA,3\n" + bare.read_text(encoding="utf-8"), encoding="utf-8")
    assert "first.csv:1: not all of these are numbers: 1, NA, 3" in run("--models", str(models), str(first), code=2)


def test_frames_are_read_by_name_without_training_too(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(tmp_path / "a.csv", 40)
    with_training = run("--models", str(models), str(path)).splitlines()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    alone = run("--models", str(models), str(path)).splitlines()
    assert alone == [line.partition("\t")[2] for line in with_training]
    other = tmp_path / "a.jsonl"
    other.write_text("{}", encoding="utf-8")
    assert "needs the package `training`" in run("--models", str(models), str(other), code=2)


def test_standard_input_in_another_encoding_is_one_sentence(tiny_models: Path) -> None:
    """A byte-order mark is no part of the first line."""
    options = ["predict", "--models", str(tiny_models), "-m", "tiny-classifier"]
    refused = runner.invoke(cli.app, options, input=b"caf\xe9\n")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert runner.invoke(cli.app, options, input=b"\xef\xbb\xbfhello\n").stdout == run(*options[1:], "hello")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("txt=text", "--column: unknown column role 'txt'; did you mean text?"),
        ("text", "--column: 'text' is not of the form role=column"),
        ("header=maybe", "--column: "),
        ("text=body", "no text column 'body'"),
    ],
)
def test_how_a_file_is_read_is_said_as_in_training(
    tiny_models: Path, tmp_path: Path, column: str, message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\nhello,x\n", encoding="utf-8")
    assert message in run("--models", str(tiny_models), "-m", "tiny-classifier", "--column", column, str(path), code=2)


def test_a_tag_column_may_name_a_field_of_conllu(tiny_models: Path, tmp_path: Path) -> None:
    """As in training: `tag=upos` is a field, `tag=-1` the number of a column."""
    path = tmp_path / "a.conllu"
    path.write_text("1\tHello\thello\tINTJ\tUH\t_\t0\troot\t_\t_\n\n", encoding="utf-8")
    options = ["--models", str(tiny_models), "-m", "tiny-tagger"]
    assert run(*options, "--column", "tag=upos", str(path)) == run(*options, "Hello")


def test_columns_of_no_file_are_refused(tiny_models: Path) -> None:
    message = run("--models", str(tiny_models), "-m", "tiny-classifier", "--column", "text=a", "hello", code=2)
    assert "no argument is a file" in message


class Small:
    """A server that takes `limit` inputs at once, and never the word "bad"."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sizes: list[int] = []

    def predict(self, inputs: Sequence[Any]) -> dict[str, Any]:
        self.sizes.append(len(inputs))
        if len(inputs) > self.limit or "bad" in inputs:
            raise RefusedInput("refused")
        return {"predictions": [{"text": value} for value in inputs]}


def rows(values: Sequence[str | None]) -> list[InputRow]:
    return [InputRow(f"line {number}", value) for number, value in enumerate(values, start=1)]


def found(values: Sequence[str | None], limit: int) -> Iterator[Answered]:
    return answers(rows(values), Small(limit).predict, lambda row, message: None)


@pytest.mark.parametrize("limit", [1, 7, 64, 1000])
def test_any_number_of_inputs_is_answered_in_order(limit: int) -> None:
    """Whatever the server takes at once; blank rows and refused ones stay where they were."""
    values = [None if number % 5 == 0 else "bad" if number == 77 else str(number) for number in range(300)]
    given = list(found(values, limit))
    assert [(each.prediction or {}).get("text") for each in given] == [None if v == "bad" else v for v in values]
    assert [each.row.place for each in given if each.error] == ["line 78"]


def test_a_request_is_of_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 100)
    server = Small(1000)
    list(answers(rows(["x" * 60, "y" * 60, "z" * 300, "1", "2"]), server.predict, lambda row, message: None))
    assert server.sizes == [1, 1, 1, 2]


def test_the_first_refused_input_may_end_it() -> None:
    def stop(row: InputRow, message: str) -> None:
        raise UnrollError(f"{row.place}: {message}")

    with pytest.raises(UnrollError, match="line 3: refused"):
        list(answers(rows(["a", "b", "bad", "c"]), Small(64).predict, stop))
