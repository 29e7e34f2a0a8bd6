"""Recording of measurements, medians, verdicts and tables."""

from __future__ import annotations

from pathlib import Path

from tests.load.measurement.ledger import Failed, Ledger, Place
from tests.load.measurement.scenario import Results, at_least, at_most, number, within
from tests.load.report.markdown import report, table
from tests.load.scenarios import SCENARIOS

PLACE = Place("tagger", "unroll", "c = 64")


def ledger_of(*rounds: dict[str, object]) -> Ledger:
    ledger = Ledger(None)
    for place_round, values in enumerate(rounds):
        ledger.add(PLACE, place_round, values)
    return ledger


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    Ledger(file).add(PLACE, 0, {"rate": 5.0})
    again = Ledger(file)
    assert again.has(PLACE, 0)
    assert not again.has(PLACE, 1)
    assert again.cell(PLACE)["rate"] == 5.0


def test_a_cell_is_the_median_of_undisturbed_rounds() -> None:
    ledger = ledger_of({"rate": 1.0, "disturbed": True}, {"rate": 10.0}, {"rate": 30.0}, {"rate": 20.0})
    assert ledger.cell(PLACE)["rate"] == 20.0
    assert not ledger.cell(PLACE)["all_disturbed"]


def test_disturbed_rounds_count_where_there_are_no_others_and_are_marked() -> None:
    cell = ledger_of({"rate": 1.0, "disturbed": True}, {"rate": 3.0, "disturbed": True}).cell(PLACE)
    assert (cell["rate"], cell["all_disturbed"]) == (2.0, True)


def test_wrong_answers_are_added_up_not_averaged_away() -> None:
    rounds = [{"rate": 1.0, "wrong": 2}, {"rate": 1.0, "wrong": 0}, {"rate": 1.0, "wrong": 0}]
    assert ledger_of(*rounds).cell(PLACE)["wrong"] == 2


def test_a_target_that_never_started_says_why() -> None:
    cell = ledger_of({"failed": "not started: no such module"}).cell(PLACE)
    assert cell == Failed("not started: no such module")


def test_one_failed_round_does_not_hide_the_others() -> None:
    assert ledger_of({"failed": "lost"}, {"rate": 4.0}).cell(PLACE)["rate"] == 4.0


def test_verdicts() -> None:
    """A verdict is met, missed, or absent if one side was not measured."""
    assert at_least("x", 80.0, "/s", "limit", 100.0, 0.8).reached is True
    assert at_least("x", 79.0, "/s", "limit", 100.0, 0.8).reached is False
    assert at_most("x", 12.0, "ms", "peer", 10.0, 1.0).reached is False
    assert within("x", 4.0, "ms", "", 5).reached is True
    assert within("x", 89.0, "%", "", 90, is_upper=False).reached is False
    assert at_least("x", 80.0, "/s", "limit", None, 0.8).reached is None
    assert at_least("x", None, "/s", "limit", 100.0, 0.8).reached is None


def test_every_scenario_has_rows_before_anything_is_measured() -> None:
    """Without measurements every scenario has empty rows and no verdict."""
    for scenario in SCENARIOS.values():
        rows = scenario.rows(Results(Ledger(None), scenario.name))
        assert rows
        assert not [row for row in rows if row.reached is not None]


def test_plans_of_a_scenario_can_be_told_apart() -> None:
    for scenario in SCENARIOS.values():
        names = [plan.name for plan in scenario.plans]
        assert len(set(names)) == len(names)


def test_the_report_has_tables_first_and_names_what_failed() -> None:
    ledger = ledger_of({"rate": 1234.5, "p50_ms": 50.0, "p99_ms": 90.0, "answered": 9, "wrong": 1, "window_s": 4.0})
    ledger.add(Place("tagger", "mosec", "c = 64"), 0, {"failed": "not started: it ended"})
    page = report(list(SCENARIOS.values()), ledger, {"processor": "one"})
    assert "1,234/s · 50.0 / 90.0 ms (1 wrong)" in page
    assert "not started: it ended" in page
    assert "measured for 4 s" in page
    assert page.index("| what |") < page.index("## How it was measured") < page.index("make bench")


def test_a_cell_cannot_break_its_table() -> None:
    assert table(["a"], [["x | y"]]).splitlines()[-1] == "| x / y |"


def test_numbers_have_three_figures() -> None:
    assert [number(value) for value in (1234.5, 123.4, 12.34, 1.234, 0.1234)] == [
        "1,234",
        "123",
        "12.3",
        "1.23",
        "0.123",
    ]
