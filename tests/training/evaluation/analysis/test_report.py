"""The error analysis folder: its files for each task, all linked from its page."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.bundle.task_options import TrainedTask
from tests.training.tiny_runs import TASKS, settings_of, write_files
from training.cli.commands import app
from training.data.records import LabelledText, TaggedSentence
from training.evaluation.analysis.report import write_analysis
from training.evaluation.predictions import Prediction
from training.evaluation.tasks.catalogue import EVALUATION_TASKS

TAGGING, CLASSIFICATION = EVALUATION_TASKS["tagging"], EVALUATION_TASKS["classification"]
CONFUSION = {"confusion.csv", "confusion.png"}
FILES: dict[TrainedTask, set[str]] = {
    "tagging": CONFUSION,
    "classification": CONFUSION,
    "translation": {f"attention-{number}.png" for number in range(1, 7)},
}


@pytest.mark.parametrize("task", TASKS)
def test_training_and_evaluating_leave_an_analysis(task: TrainedTask, tmp_path: Path) -> None:
    """`train` writes the analysis into the run folder, `evaluate --analysis` to the given path; scores are equal."""
    train, dev = write_files(task, tmp_path)
    files = [f"--train={train}", f"--dev={dev}", "--name=mine", "--device=cpu", "--set=training.trackers=[]"]
    places = [f"--runs={tmp_path / 'runs'}", f"--models={tmp_path / 'models'}"]
    training = ["train", task, *files, *places, *settings_of(task, epochs=1)]
    run = CliRunner().invoke(app, training, catch_exceptions=False)
    assert run.exit_code == 0, run.output
    after_training = tmp_path / "runs" / "mine" / "analysis"
    command = ["evaluate", str(tmp_path / "models" / "mine" / "1"), str(dev)]
    plain = CliRunner().invoke(app, command, catch_exceptions=False)
    looked = CliRunner().invoke(app, [*command, f"--analysis={tmp_path / 'errors'}"], catch_exceptions=False)
    assert looked.stdout == plain.stdout
    if task not in FILES:
        assert "nothing to analyse for generation" in looked.stderr
        assert not after_training.exists()
        return
    for folder in (after_training, tmp_path / "errors"):
        names = {file.name for file in folder.iterdir()}
        assert names == FILES[task] | {"README.md", "errors.csv"}
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert page.startswith("# What mine gets wrong\n")
        assert set(re.findall(r"\]\(([^)]+)\)", page)) == names - {"README.md"}
    assert str(after_training / "README.md") in run.stderr.replace("\n", "")


def test_span_errors_have_their_kinds_on_the_page(tmp_path: Path) -> None:
    """Spans are evaluated as spans, and the label confusion ignores the B and I prefixes."""
    record = TaggedSentence(("Ada", "Lovelace", "slept"), ("B-PER", "I-PER", "O"))
    page = write_analysis(tmp_path, "names", TAGGING.analyse([Prediction(record, tags=["O", "B-LOC", "O"])]))
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "- **boundary and type**: 1" in text
    assert "| PER | LOC | 1 |" in text
    with (tmp_path / "errors.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["kind"], row["gold"], row["predicted"]) == ("boundary and type", "Ada Lovelace [PER]", "Lovelace [LOC]")


def test_texts_cannot_break_the_page(tmp_path: Path) -> None:
    """Pipes, line ends and Markdown in the data are escaped, and very long texts are truncated."""
    record = LabelledText("a | b\n# no *title* " + "x" * 500, "x|y")
    page = write_analysis(tmp_path, "odd", CLASSIFICATION.analyse([Prediction(record, label="z")]))
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "| x\\|y | z | 1 |" in text
    assert "a \\| b # no \\*title\\*" in text
    assert "x" * 200 not in text


def test_nothing_wrong_is_said(tmp_path: Path) -> None:
    """A perfect model has a page too, and files of an older analysis are removed."""
    (tmp_path / "attention-1.png").write_bytes(b"old")
    perfect = [Prediction(LabelledText("a", "x"), label="x")]
    page = write_analysis(tmp_path, "perfect", CLASSIFICATION.analyse(perfect))
    assert page is not None
    assert "Nothing was confused." in page.read_text(encoding="utf-8")
    assert "There are none." in page.read_text(encoding="utf-8")
    assert not (tmp_path / "attention-1.png").exists()
    assert write_analysis(tmp_path, "none", CLASSIFICATION.analyse([])) is None
