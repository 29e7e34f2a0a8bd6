"""Series in everyday forms: dates, numbers, index columns, split times; read in one way, or refused with the option."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located
from training.data.records import LabelledSignal, Series

DAYS = [date(2023, 12, 20) + timedelta(days=number) for number in range(30)]


def table(folder: Path, header: str, rows: list[str], name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def daily(folder: Path, form: str, header: str = "date,load") -> Path:
    return table(folder, header, [f"{day.strftime(form)},{number}" for number, day in enumerate(DAYS)])


def read(path: Path, **options: object) -> tuple[Series, Report]:
    report = Report(strict=False)
    (located,) = read_located("forecasting", path, ReadOptions.model_validate(options), report)
    assert isinstance(located.record, Series)
    return located.record, report


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataFault) as caught:
        read_located("forecasting", path, ReadOptions.model_validate(options), Report())
    return str(caught.value)


@pytest.mark.parametrize(
    "form", ["%Y%m%d", "%m/%d/%Y", "%d.%m.%Y", "%d/%m/%Y", "%Y-%m-%d 00:00:00 UTC", "%b %d, %Y", "%d-%b-%y", "%Y/%m/%d"]
)
def test_daily_dates_across_the_end_of_a_year_need_no_word(form: str, tmp_path: Path) -> None:
    """Each form gives 30 rows of the same days, without a warning."""
    path = daily(tmp_path, form.replace(",", ""))
    found, report = read(path)
    assert (report.faults, report.warnings, len(found.values)) == ([], [], 30)
    assert (found.times[0][:10], found.times[-1][:10]) == ("2023-12-20", "2024-01-18")


def test_dates_with_two_readings_name_the_option(tmp_path: Path) -> None:
    path = table(tmp_path, "date,load", ["01/02/2024,1", "02/02/2024,2", "03/02/2024,3"])
    assert "pass --column dates=day-first or --column dates=month-first" in refusal(path)
    assert read(path, dates="day-first")[0].times == ("2024-02-01", "2024-02-02", "2024-02-03")
    assert read(path, dates="%d/%m/%Y")[0].times[1] == "2024-02-02"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("ds", "2024-01-01", "2024-01-02"), ("Datum", "1.1.2024", "2.1.2024"), ("Period", "2024Q1", "2024Q2"),
     ("year", "2001", "2002"), ("day", "20240101", "20240102"), ("unix", "1706695200", "1706698800")],
)  # fmt: skip
def test_a_time_column_of_an_unusual_name_is_proposed(name: str, first: str, second: str, tmp_path: Path) -> None:
    rows = [f"{first},1", f"{second},5", f"{second.replace('2', '3', 1) if name == 'x' else _next(second)},2"]
    path = table(tmp_path, f"{name},load", rows)
    assert f"pass --column time={name}" in refusal(path)
    assert read(path, time_column=name)[0].channels == ("load",)


def _next(second: str) -> str:
    return {"2024-01-02": "2024-01-03", "2.1.2024": "3.1.2024", "2024Q2": "2024Q3", "2002": "2003",
            "20240102": "20240103", "1706698800": "1706702400"}[second]  # fmt: skip


def test_date_and_time_in_two_columns_are_one_time(tmp_path: Path) -> None:
    path = table(tmp_path, "Date;Time;P", [f"16/12/2006;{hour:02}:00:00;{hour}" for hour in range(24)])
    found, report = read(path)
    assert (found.channels, found.times[-1], report.warnings) == (("P",), "2006-12-16T23:00:00", [])
    parts = table(tmp_path, "year,month,day,hour,P", [f"2010,1,{1 + n // 24},{n % 24},{n}" for n in range(48)])
    assert (read(parts)[0].channels, read(parts)[0].times[-1]) == (("P",), "2010-01-02 23:00")


def test_decimal_commas_are_read_and_doubtful_ones_refused(tmp_path: Path) -> None:
    """The sign is proved by the column, else by the file; 1,234 alone names the option; a mix is a fault with line."""
    commas = table(tmp_path, "date;load;rest", ["2024-01-01;10,5;1,234", "2024-01-02;11,5;2,345"])
    assert read(commas)[0].values.tolist() == [[10.5, 1.234], [11.5, 2.345]]
    doubtful = table(tmp_path, "date;load", ["2024-01-01;1,234", "2024-01-02;2,345"])
    assert "--column decimal=point (1234) or --column decimal=comma (1.234)" in refusal(doubtful)
    assert read(doubtful, decimal="point")[0].values[0, 0] == 1234
    mixed = table(tmp_path, "date;load", ["2024-01-01;1.5", "2024-01-02;2,5"])
    assert "a.csv:3: 'load' is '2,5', not a number" in refusal(mixed)
    underscores = table(tmp_path, "date,load", ["2024-01-01,1_010", "2024-01-02,1_011"])
    assert "a.csv:2: 'load' is '1_010', not a number" in refusal(underscores)


def test_doubtful_cells_say_what_may_be_meant(tmp_path: Path) -> None:
    """A number with a unit, days of a spreadsheet, and a name with blanks in an option are told as such."""
    unit = table(tmp_path, "date,temp", ["2024-01-01,3.5°C"])
    assert "'temp' is '3.5°C', not a number; leave missing values empty or write NA; write the number alone" in refusal(
        unit
    )
    spreadsheet = table(tmp_path, "date,load", ["45292,1", "45293,2"])
    assert "45292 is read as a plain number; if it is a date of a spreadsheet" in str(read(spreadsheet)[1].warnings[0])
    blanks = table(tmp_path, "Time (UTC),load", ["2024-01-01,1", "2024-01-02,2"])
    assert "pass --column 'time=Time (UTC)'" in refusal(blanks)


def test_money_and_gaps_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "date;load", ["2024-01-01;$1,234.50", "2024-01-02;n/a", "2024-01-03;-", "2024-01-04;$7"])
    assert np.array_equal(read(path)[0].values[:, 0], [1234.5, np.nan, np.nan, 7], equal_nan=True)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "No"])
def test_a_column_that_counts_rows_is_left_out_and_said(name: str, tmp_path: Path) -> None:
    path = table(tmp_path, f"{name},date,load", [f"{n},{day},5" for n, day in enumerate(DAYS)])
    found, report = read(path)
    assert (found.channels, len(report.warnings)) == (("load",), 1)
    assert f"{name!r} only counts the rows" in str(report.warnings[0])


def test_a_named_column_of_other_numbers_is_kept(tmp_path: Path) -> None:
    path = table(tmp_path, "id,load", ["3,1", "9,5"])
    assert read(path)[0].channels == ("id", "load")


def test_frames_leave_out_the_index_and_read_commas(tmp_path: Path) -> None:
    rows = ['0,s1,"1,5",2,up', '1,s1,"1,6",2,up', '2,s2,"1,75",3,dn']
    path = table(tmp_path, ",sequence,x,y,label", rows)
    report = Report(strict=False)
    records = [located.record for located in read_located("classification", path, None, report)]
    assert all(isinstance(record, LabelledSignal) and record.features == ("x", "y") for record in records)
    assert isinstance(records[0], LabelledSignal)
    assert records[0].values.tolist() == [[1.5, 2.0], [np.float32(1.6), 2.0]]
    assert len(report.warnings) == 1


def test_odd_orders_are_one_fault_each(tmp_path: Path) -> None:
    """Newest first, several series in one file, and the hour that an autumn has twice are each told once, as such."""
    newest = table(tmp_path, "date,load", [f"{day},1" for day in reversed(DAYS)])
    assert [fault.what for fault in read(newest)[1].faults] == ["the newest row is first"]
    several = table(tmp_path, "date,store,load", [f"{day},{store},1" for day in DAYS for store in (1, 2)])
    assert ["many rows have the time of another" in str(fault) for fault in read(several)[1].faults] == [True]
    autumn = table(tmp_path, "time,load", [f"2024-10-27 0{hour}:00,1" for hour in (0, 1, 2, 2, 3, 4)])
    (fault,) = read(autumn)[1].faults
    assert "are clocks changed here?" in str(fault)


def test_weekends_are_no_gaps_where_only_workdays_are_counted(tmp_path: Path) -> None:
    workdays = [f"{day},1" for day in DAYS if day.weekday() < 5]
    assert read(table(tmp_path, "date,load", workdays))[1].warnings == []
    missing = [f"{day},1" for day in DAYS if day.weekday() < 5 and day != date(2024, 1, 3)]
    assert len(read(table(tmp_path, "date,load", missing))[1].warnings) == 1


def test_an_index_of_dates_without_a_name_holds_the_times(tmp_path: Path) -> None:
    """As pandas writes a series whose index is dates; and what was understood is stated."""
    path = tmp_path / "a.csv"
    path.write_text(",load\n" + "".join(f"2024-01-{day:02d},{day}\n" for day in range(1, 10)), encoding="utf-8")
    report = Report()
    (located,) = read_located("forecasting", path, None, report)
    assert isinstance(located.record, Series)
    assert located.record.times[:2] == ("2024-01-01", "2024-01-02")
    facts = report.understood[str(path)]
    assert facts["time"] == "`date`, 2024-01-01 to 2024-01-09, steps of 1d"
    assert facts["channels"] == "`load`"


@pytest.mark.parametrize("mark", ["-9999", "-999.9", "99999", "-99", "1e20", "9.96921e36"])
def test_a_number_that_stands_for_a_missing_value_is_doubted(mark: str, tmp_path: Path) -> None:
    """The warning names the column, the first line and the option; with the option these cells are missing."""
    loads = [mark if number in (4, 9) else str(number % 7 - 3) for number in range(len(DAYS))]
    rows = [f"{day},{load},{day.day}" for day, load in zip(DAYS, loads, strict=True)]
    path = table(tmp_path, "date,load,day", rows)
    (warning,) = read(path)[1].warnings
    shown = repr(float(mark)).removesuffix(".0")
    assert f":6: 'load' is {shown} in 2 rows" in str(warning)
    assert f"--column missing={shown}" in str(warning)
    found, report = read(path, missing=mark)
    assert (np.flatnonzero(np.isnan(found.values[:, 0])).tolist(), report.warnings) == ([4, 9], [])


@pytest.mark.parametrize(
    "loads",
    [
        ["9", "99", "99", "90", "40", "30"],  # within reach of the others
        ["1", "2", "3", "1", "2", "9999"],  # once: an outlier
        ["-9999"] * 6,  # nothing to compare with
        ["0", "0", "0", "5000", "5000", "1"],  # not made of nines
    ],
)
def test_other_extremes_are_not_doubted(loads: list[str], tmp_path: Path) -> None:
    path = table(tmp_path, "date,load", [f"{day},{load}" for day, load in zip(DAYS, loads, strict=False)])
    assert read(path)[1].warnings == []
