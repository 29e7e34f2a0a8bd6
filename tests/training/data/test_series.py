"""Tables of time series: values, gaps, and faults with their location."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.errors import UnrollError
from tests.training.tiny_series import CHANNELS, series, write_table
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located, read_records
from training.data.readers.series import follows
from training.data.records import Series
from training.data.split import split_series
from training.preprocessing.scales.series_scale import SeriesScale, fit_scale

TABLE = "date,load,wind\n2020-01-01 00:00,1,NE\n2020-01-01 01:00,NA,NW\n2020-01-01 02:00,2.5,NE\n"


def write(folder: Path, content: str, name: str = "series.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def read(path: Path, **options: object) -> Series:
    (record,) = read_records("forecasting", path, ReadOptions.model_validate(options))
    assert isinstance(record, Series)
    return record


def fault_in(folder: Path, content: str, **options: object) -> DataFault:
    with pytest.raises(DataFault) as caught:
        read(write(folder, content), **options)
    return caught.value


def test_a_table_is_one_series(tmp_path: Path) -> None:
    """Every column except the time is a channel and a target, unless the user selects others."""
    path = write_table(tmp_path / "series.csv", 10)
    found = read(path)
    assert (found.channels, found.targets) == (CHANNELS, CHANNELS)
    assert found.values.shape == (10, 3)
    assert found.values[3, 1] == pytest.approx(20 - 5 + 0.3)
    assert (found.times[0], found.num_new) == ("2020-02-27 00:00:00", 10)
    named = read(path, channel_columns="wind,load", target_column="load")
    assert (named.channels, named.targets) == (("wind", "load"), ("load",))
    assert np.array_equal(named.values, found.values[:, [2, 0]])


def test_gaps_and_kinds(tmp_path: Path) -> None:
    """NA is a gap; `wind=NE` is a 0/1 indicator channel; columns may be excluded from the channels."""
    found = read(write(tmp_path, TABLE), channel_columns=("load", "wind=NE"), target_column="load")
    assert np.array_equal(found.values, [[1.0, 1.0], [np.nan, 0.0], [2.5, 1.0]], equal_nan=True)


@pytest.mark.parametrize("gap", ["", "NA", "nan", "null", "?"])
def test_every_usual_word_for_a_gap_is_one(gap: str, tmp_path: Path) -> None:
    found = read(write(tmp_path, f"time,load\n1,3\n2,{gap}\n"))
    assert np.isnan(found.values[1, 0])


def test_faults_name_the_line(tmp_path: Path) -> None:
    """A non-numeric cell, an infinite one, a decreasing time and a short row are faults with their line."""
    word = fault_in(tmp_path, TABLE)
    assert (word.line, word.what) == (2, "'wind' is 'NE', not a number")
    assert "--column channels=wind=NE" in word.allowed
    assert fault_in(tmp_path, "load\n1\ninf\n").line == 3
    back = fault_in(tmp_path, "time,load\n3,1\n4,1\n4,1\n")
    assert (back.line, back.what) == (4, "4 does not come after 4")
    assert fault_in(tmp_path, "time,load\nsoon,1\n2,1\n").line == 2
    assert fault_in(tmp_path, "time,load\n1,1\n2\n").line == 3


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no column 'rain'" in str(fault_in(tmp_path, TABLE, channel_columns=("load", "rain=yes")))
    assert "no channel 'rain' to forecast" in str(
        fault_in(tmp_path, TABLE, channel_columns="load", target_column="rain")
    )
    assert "no time column 'hour'" in str(fault_in(tmp_path, TABLE, time_column="hour"))


def test_a_missing_hour_is_a_warning_and_a_short_month_is_none(tmp_path: Path) -> None:
    """Time steps may differ as months do; a step of double length is a warning with its line."""
    report = Report(strict=False)
    read_located("forecasting", write(tmp_path, "time,load\n1,1\n2,1\n4,1\n5,1\n"), None, report)
    assert [(warning.line, warning.what) for warning in report.warnings] == [(4, "4 follows 2: not the usual step")]
    report = Report(strict=False)
    months = "".join(f"2021-{month:02}-01,{month}\n" for month in range(1, 13))
    read_located("forecasting", write(tmp_path, f"date,load\n{months}"), None, report)
    assert (report.warnings, report.faults) == ([], [])


def test_a_tolerant_report_goes_on_after_a_fault(tmp_path: Path) -> None:
    """Every invalid cell is reported in one pass, and the rest of the table is still read."""
    report = Report(strict=False)
    (located,) = read_located("forecasting", write(tmp_path, "load,heat\n1,x\ny,2\n3,4\n"), None, report)
    assert [fault.line for fault in report.faults] == [2, 3]
    assert isinstance(located.record, Series)
    assert located.record.values[2].tolist() == [3, 4]


def test_dev_follows_train_only_where_the_times_say_so(tmp_path: Path) -> None:
    """Dev continues train if it starts one time step later; with a larger step or no times, it is a separate series."""
    train = read(write_table(tmp_path / "train.csv", 10))
    assert follows(train, read(write_table(tmp_path / "next.csv", 5, first=10)))
    assert not follows(train, read(write_table(tmp_path / "later.csv", 5, first=34)))
    assert not follows(train, read(write_table(tmp_path / "same.csv", 5)))
    assert not follows(train._replace(times=()), train._replace(times=()))


def test_a_series_is_split_in_time() -> None:
    """The last tenth is dev, with all earlier rows as its past."""
    whole = series(50)
    train, dev, explanation = split_series(whole)
    (before,), (after,) = train, dev
    assert isinstance(before, Series)
    assert isinstance(after, Series)
    assert np.array_equal(before.values, whole.values[:45])
    assert (len(after.values), after.num_new) == (50, 5)
    assert "the last 5 of 50 rows" in explanation


def test_the_scale_is_that_of_what_was_measured(tmp_path: Path) -> None:
    """Gaps are excluded from mean and standard deviation, and the scale is restored from the run folder bit for bit."""
    found = read(write(tmp_path, "a,b\n1,5\n,5\n3,5\n"), target_column="a")
    scale = fit_scale(found)
    assert scale == SeriesScale(("a", "b"), ("a",), (2.0, 5.0), (1.0, 1.0))
    odd = scale._replace(mean=(0.1 + 0.2, 1 / 3))
    assert SeriesScale.of_json(odd.to_json().encode()) == odd


@pytest.mark.parametrize(
    ("content", "reason"), [("a,b\n1,\n2,\n", "no number in b"), ("a,b\n1,7\n2,7\n", "b never ch")]
)
def test_a_channel_that_says_nothing_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnrollError, match=reason):
        fit_scale(read(write(tmp_path, content)))
