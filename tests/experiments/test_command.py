"""The `unroll experiment` command, and the page that it updates."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from service.errors import UnrollError
from training.cli.experiment import experiment, with_overrides
from training.experiments.catalogue import EXPERIMENTS
from training.experiments.harness.drawing import COLOURS, DASHES, MARKERS, draw
from training.experiments.harness.outcome import Line, Panel, Table
from training.experiments.harness.publish import begin, end, in_words, with_section
from training.experiments.hello import HELLO

PAGE = Path(__file__).parents[2] / "training" / "experiments"
app = typer.Typer()
app.command()(experiment)


def run(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_run_writes_a_table_with_its_facts_and_the_same_figure_each_time(tmp_path: Path) -> None:
    """A run writes a table with command, machine and settings, and repeated runs write the identical figure."""
    first, second = (run("hello", "--quick", "--set", "num_steps=5", "--out", tmp_path / name) for name in "ab")
    assert first.exit_code == second.exit_code == 0
    table = (tmp_path / "a" / "tables" / "hello.md").read_text(encoding="utf-8")
    assert "`unroll experiment hello --quick`" in table
    assert "num_steps 5" in table
    figures = [(tmp_path / name / "figures" / "hello.svg").read_bytes() for name in "ab"]
    assert figures[0] == figures[1]


def test_the_list_shows_every_experiment_with_its_question() -> None:
    shown = run("--list").stdout
    assert [line.split()[0] for line in shown.splitlines()] == list(EXPERIMENTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cell",), "did you mean cells?"),
        (("hello", "--set", "steps=3"), "unknown setting 'steps'; choose one of hidden, num_steps"),
        (("hello", "--set", "num_steps=many"), "num_steps is 'many', but must have the type of 300"),
    ],
)
def test_a_wrong_name_or_setting_is_refused_with_what_there_is(arguments: tuple[str, ...], said: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert said in " ".join(refused.stderr.split())


def test_whole_numbers_and_lists_are_taken_where_fractions_and_tuples_are_meant() -> None:
    changed = with_overrides(EXPERIMENTS["clipping"].full, {"clip_norms": [1, 5], "seeds": 2})
    assert changed.clip_norms == (1, 5)
    assert with_overrides(HELLO.full, {"learning_rate": 1}).learning_rate == 1


def test_a_table_goes_between_its_marks_and_nowhere_else() -> None:
    page = f"Before.\n{begin('a')}\nold\n{end('a')}\nAfter.\n"
    assert with_section(page, "a", "new") == f"Before.\n{begin('a')}\nnew\n{end('a')}\nAfter.\n"
    with pytest.raises(UnrollError, match="end a"):
        with_section(f"{end('a')} {begin('a')}", "a", "new")


def test_the_page_shows_every_experiment_with_its_latest_table_and_figure() -> None:
    """The page shows the latest table and figure of every experiment, with current settings and a small figure."""
    page = (PAGE / "README.md").read_text(encoding="utf-8")
    for name, each in EXPERIMENTS.items():
        table = (PAGE / "tables" / f"{name}.md").read_text(encoding="utf-8").strip()
        assert f"{begin(name)}\n{table}\n{end(name)}" in page
        assert table.endswith(in_words(each.full))
        assert "--quick" not in table
        assert f"](figures/{name}.svg)" in page
        assert 0 < (PAGE / "figures" / f"{name}.svg").stat().st_size < 60_000


def test_a_table_aligns_numbers_and_shows_what_is_missing_as_a_dash() -> None:
    table = Table({"cell": "", "loss": ".2f"}, [("GRU", 1.234), ("Elman", math.nan), ("none", None)])
    assert table.markdown().splitlines()[1:] == ["| :--- | ---: |", "| GRU | 1.23 |", "| Elman | - |", "| none | - |"]


def test_lines_differ_in_more_than_colour(tmp_path: Path) -> None:
    """Chart lines are distinguishable without colour: there are as many distinct markers and dashes as colours."""
    for kinds in (COLOURS, MARKERS, DASHES):
        assert len(set(kinds)) == len(COLOURS)
    panel = Panel("Two", "x", "y", [Line("a", [1, 2], [1, 2]), Line("b", [1, 2], [2, 1])])
    draw([panel], tmp_path / "two.svg")
    strokes = set(re.findall(r"stroke: (#[0-9a-f]{6})", (tmp_path / "two.svg").read_text(encoding="utf-8")))
    assert {colour.lower() for colour in COLOURS[:2]} <= strokes
