"""`unroll score` for files, and the texts that it took before `unroll perplexity` had its name."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import commands as cli
from service.cli.scoring import score_files
from service.cli.scoring.score_files import told_progress
from service.offline.job.run import Progress

runner = CliRunner()


def run(*arguments: str, text: str | None = None, code: int = 0) -> tuple[str, str]:
    """Standard output and error of `unroll score`."""
    result = runner.invoke(cli.app, ["score", *arguments], input=text)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "in.csv"
    path.write_text("id,Body\n1,hello world\n2,\n3,one\n", encoding="utf-8")
    return str(path)


def test_a_file_is_scored_and_summed_up(tiny_models: Path, table: str, tmp_path: Path) -> None:
    """The summary is on stderr: rows, rate, errors by kind, labels; as JSON it is on stdout."""
    out = tmp_path / "out.jsonl"
    where = ["--models", str(tiny_models)]
    options = ["tiny-classifier", table, str(out), *where, "--keep", "id", "--output-columns", "label", "-p", "top_k=2"]
    printed, told = run(*options)
    assert printed == ""
    assert f"3 rows -> {out}" in told
    assert "1 rows have no answer" in told
    assert "        1  the text is empty" in told
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["id", "label", "error"]] * 3
    assert f"{out} is there already: --force" in run(*options, code=2)[1]
    summary = json.loads(run(*options, "--force", "--json")[0])
    assert (summary["rows"], summary["errors"]) == (3, {"the text is empty": 1})
    assert sum(summary["labels"].values()) == 2


def test_sentences_are_scored_into_conllu(tiny_models: Path, tmp_path: Path) -> None:
    """The words of a CoNLL-U file are read, and the file that is written has the same, with trees; packed as well."""
    given = tmp_path / "in.conllu"
    words = [f"{number}\t{word}" + "\t_" * 8 for number, word in enumerate(("the", "cat"), start=1)]
    given.write_text("# sent_id = x\n" + "\n".join(words) + "\n\n1\tAda" + "\t_" * 8 + "\n\n", encoding="utf-8")
    where = ["--models", str(tiny_models)]
    run("tiny-parser", str(given), str(tmp_path / "out.conllu"), *where)
    run("tiny-parser", str(given), str(tmp_path / "out.conllu.gz"), *where)
    text = (tmp_path / "out.conllu").read_text(encoding="utf-8")
    assert gzip.decompress((tmp_path / "out.conllu.gz").read_bytes()).decode() == text
    rows = [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]
    assert [(row[0], row[1]) for row in rows] == [("1", "the"), ("2", "cat"), ("1", "Ada")]
    assert [row[6] for row in rows].count("0") == 2
    refused = run("tiny-parser", str(given), str(tmp_path / "b.conllu"), *where, "--keep", "text", code=2)[1]
    assert "a .conllu file has the columns of CoNLL-U" in refused
    assert (
        "there is no column 'conllu'"
        in run("tiny-classifier", str(given), str(tmp_path / "b.conllu"), *where, code=2)[1]
    )


def test_the_model_may_be_a_path_or_an_option(tiny_models: Path, table: str, tmp_path: Path) -> None:
    run(str(tiny_models / "tiny-classifier"), table, str(tmp_path / "a.csv"))
    run(table, str(tmp_path / "b.csv"), "-m", "tiny-classifier", "--version", "1", "--models", str(tiny_models))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{table}"], "where to? The last argument is missing"),
        (["{table}", "a.csv", "b.csv"], "too many arguments"),
        (["nothing.csv", "a.csv"], "nothing.csv: there is no such file"),
        (["{table}", "a.csv", "--text-column", "body"], "did you mean 'Body'"),
        (["{table}", "a.csv", "--keep", "idd"], "did you mean 'id'"),
        (["{table}", "a.csv", "--output-columns", "labels"], "did you mean 'label'"),
        (["{table}", "a.csv", "--precision", "fp16"], "there is no precision 'fp16'"),
        (["{table}", "a.csv", "--precision", "int8"], "it has no int8 form"),
        (["{table}", "a.csv", "--separator", "::"], "a separator is one character"),
        (["{table}", "a.csv", "--compression", "zstd"], "compression is of Parquet files"),
        (["{table}", "a.csv", "-p", "top_k=0"], "top_k"),
        (["{table}", "a.csv", "--url", "http://localhost:1"], "needs no server"),
        (["{table}", "a.csv", "--encoding", "utf8x"], "there is no encoding 'utf8x'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tiny_models: Path, table: str, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [argument.format(table=table) for argument in arguments]
    _, told = run("tiny-classifier", *given, "--models", str(tiny_models), code=2)
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "a.csv").exists()


def test_a_run_in_which_no_row_has_an_answer_fails(tiny_models: Path, tmp_path: Path) -> None:
    """Its output is there, with the reasons; the exit code says that something is wrong with all of it."""
    (tmp_path / "in.txt").write_text("\n\n", encoding="utf-8")
    arguments = ["tiny-classifier", str(tmp_path / "in.txt"), str(tmp_path / "a.csv"), "--models", str(tiny_models)]
    assert "no row has an answer" in run(*arguments, code=2)[1]
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").count("the text is empty") == 2


def test_texts_still_get_their_perplexity_with_a_hint(tiny_models: Path) -> None:
    """Arguments and lines of standard input, as before the command was for files; files are told from texts."""
    where = ["--models", str(tiny_models)]
    for texts, text in ((["Hello world", "a"], None), ([], "Hello world\na\n")):
        printed, told = run(*texts, *where, text=text)
        assert [line.split("\t")[2] for line in printed.splitlines()] == ["Hello world", "a"]
        assert "unroll perplexity TEXT" in told
    printed, _ = run("-m", "tiny-generator", "Hello world", "--json", *where)
    assert json.loads(printed)["perplexity"] > 1


def test_help_teaches_both_commands() -> None:
    told = runner.invoke(cli.app, ["score", "--help"]).stdout
    assert "unroll score intent-en questions.csv answers.parquet" in told
    assert "unroll perplexity TEXT" in told
    assert "perplexity" in runner.invoke(cli.app, ["--help"]).stdout


def test_progress_tells_rows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and time of an earlier run do not count for the rate."""
    monkeypatch.setattr("time.monotonic", lambda: 20.0)
    progress = Progress(size=1000, position=500, rows=6000, before=400, rows_before=1000, started_s=10.0)
    assert told_progress(progress) == "6,000 rows, 500 a second, 0:00:50 left"


def test_a_bar_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (False, True):
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda found=is_terminal: found, raising=False)
        monkeypatch.setattr("sys.stderr", screen)
        with score_files._bar("in.csv") as on_progress:
            on_progress(Progress(size=10, position=5, rows=3))
        assert ("in.csv" in screen.getvalue()) is is_terminal
