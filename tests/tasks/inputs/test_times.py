"""Times in the forms that people write, the step between them, and the times that follow."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from service.tasks.inputs.time_steps import following, iso_times, step_of, step_of_text
from service.tasks.inputs.times import AmbiguousDates, is_a_date_column, read_times


def day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("20240131", "2024-01-31"),
        ("2024-1-31", "2024-01-31"),
        ("2024/01/31 10:00", "2024-01-31 10:00"),
        ("2024-01-31 10:00:00 UTC", "2024-01-31 10:00"),
        ("2024-01-31T10:00:00.5Z", "2024-01-31 10:00:00.5"),
        ("2024-01-31T10:00+01:00[Europe/Berlin]", "2024-01-31 09:00"),
        ("2024-01-31 10:00:00.123456789-0530", "2024-01-31 15:30:00.123457"),
        ("31.1.2024 10:05", "2024-01-31 10:05"),
        ("1/31/2024 1:05 PM", "2024-01-31 13:05"),
        ("1/31/24 12:05 am", "2024-01-31 00:05"),
        ("31-Jan-24", "2024-01-31"),
        ("Jan 31, 2024", "2024-01-31"),
        ("Wed, 31 Jan 2024 10:00:00 +0000", "2024-01-31 10:00"),
        ("20240131T1005", "2024-01-31 10:05"),
        ("2024013110", "2024-01-31 10:00"),
        ("1949-01", "1949-01-01"),
        ("01/1949", "1949-01-01"),
        ("194902", "1949-02-01"),
        ("Mar 1949", "1949-03-01"),
        ("2024M03", "2024-03-01"),
        ("2024Q2", "2024-04-01"),
        ("Q2 2024", "2024-04-01"),
        ("2024-W05", "2024-01-29"),
        ("2024", "2024-01-01"),
        ("1706695200", "2024-01-31 10:00"),
        ("1706695200000", "2024-01-31 10:00"),
        ("2024-01-31 24:00", "2024-02-01"),
    ],
)
def test_a_time_is_read(cell: str, moment: str) -> None:
    assert read_times([cell]).moments.tolist() == pytest.approx([day(moment)], abs=1e-6)


@pytest.mark.parametrize(
    "cell", ["10:00", "2024-13-01", "2024-02-30", "soon", "2024-01-01 CET", "32.1.2024", "2024-01-01 25:00"]
)
def test_what_is_no_time_is_nan(cell: str) -> None:
    assert all(map(math.isnan, read_times([cell]).moments))


def test_numbers_without_a_unit_stay_numbers() -> None:
    """Row numbers are no dates, although some of them could be years or compact dates."""
    found = read_times([str(number) for number in range(1, 3000)])
    assert (found.kind, found.moments[-1]) == ("number", 2999.0)


def test_the_column_decides_whether_the_day_or_the_month_is_first() -> None:
    """A day after the 12th, or an even step in one reading only, decides; else the user does; points mean day first."""
    assert read_times(["12/20/2023", "01/02/2024"]).moments[1] == day("2024-01-02")
    assert read_times(["20/12/2023", "01/02/2024"]).moments[1] == day("2024-02-01")
    assert read_times(["01.02.2024"]).moments[0] == day("2024-02-01")
    assert read_times(["24-01-31", "24-02-01"]).moments[0] == day("2024-01-31")
    hours = [f"0{1 + hour // 24}/06/2024 {hour % 24}:00" for hour in range(60)]
    assert read_times(hours).moments[-1] == day("2024-06-03 11:00")
    both = [f"{number:02}/06/2024" for number in range(1, 11)]
    with pytest.raises(AmbiguousDates, match="'01/06/2024' can be read day-first or month-first") as caught:
        read_times(both)
    assert caught.value.orders == ("day-first", "month-first")
    assert read_times(both, "day-first").moments[1] == day("2024-06-02")
    assert read_times(both, "month-first").moments[1] == day("2024-02-06")
    assert read_times(both, "%d/%m/%Y").moments[1] == day("2024-06-02")


@pytest.mark.parametrize(
    ("cells", "step", "after"),
    [
        (["20231230", "20231231"], "1d", ["2024-01-01", "2024-01-02"]),
        (["1949-11", "1949-12"], "1mo", ["1950-01", "1950-02"]),
        (["2023-12-31", "2024-01-31", "2024-02-29"], "1mo", ["2024-03-31", "2024-04-30"]),
        (["2024Q3", "2024Q4"], "1q", ["2025-Q1", "2025-Q2"]),
        (["2019", "2020", "2021"], "1y", ["2022", "2023"]),
        (["2024-W51", "2024-W52"], "1w", ["2025-W01", "2025-W02"]),
        (["2024-01-01 23:00", "2024-01-02 00:00"], "1h", ["2024-01-02T01:00:00", "2024-01-02T02:00:00"]),
        (["2024-01-01T00:00+01:00", "2024-01-01T00:15+01:00"], "15min",
         ["2024-01-01T00:30:00+01:00", "2024-01-01T00:45:00+01:00"]),
        (["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"], "1h", ["2024-01-01T02:00:00Z", "2024-01-01T03:00:00Z"]),
        (["1706695200000", "1706695260000"], "1min", ["1706695320000", "1706695380000"]),
        (["7", "9", "11"], "2", ["13", "15"]),
        ([f"2024-01-{number:02}" for number in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)], "workday",
         ["2024-01-15", "2024-01-16"]),
    ],
)  # fmt: skip
def test_the_step_and_the_times_after_the_last(cells: list[str], step: str, after: list[str]) -> None:
    """Months keep their length and their end, weekends are skipped where they always were, a zone is kept."""
    times = read_times(cells)
    found = step_of(times)
    assert found is not None
    assert str(found) == step
    assert step_of_text(step) == found
    assert following(times, found, 2) == after


def test_times_that_do_not_increase_have_no_step() -> None:
    assert step_of(read_times(["2024-01-01"])) is step_of(read_times(["2024-01-02", "2024-01-01"])) is None
    assert step_of_text("often") is None


def test_other_spellings_become_iso() -> None:
    assert iso_times(read_times(["31/01/2024", "01/02/2024"])) == ("2024-01-31", "2024-02-01")
    assert iso_times(read_times(["1", "2.5", "x"])) == ("1", "2.5", "")


def test_a_column_of_dates_is_told_from_numbers_and_words() -> None:
    assert is_a_date_column(["2024-01-01", "", "2024-01-03"])
    assert is_a_date_column(["01/02/2024", "01/03/2024"])
    assert not is_a_date_column(["20240101", "20240102"])
    assert not is_a_date_column(["may", "june"])
    assert not is_a_date_column(["", ""])
