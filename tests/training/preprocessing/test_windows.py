"""Windows of a series: complete coverage, filled gaps, and dev windows that look back into train."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import UnrollError
from tests.training.tiny_series import config, series
from training.data.records import LabelledText
from training.preprocessing.windows import Windows, continued, example_frames, filled, one_series
from training.tasks.forecasting import ForecastingSet


def test_every_window_is_there_once() -> None:
    """There are as many windows as rows allow, and each future begins where its past ends."""
    whole = series(20, targets=("wind", "load"))
    windows = Windows(whole, 12, 5)
    assert len(windows) == 4
    starts = np.arange(4)
    past, future = windows.past(starts), windows.future(starts)
    for start in starts:
        assert np.array_equal(past[start], whole.values[start : start + 12].astype(np.float32))
        assert np.array_equal(future[start], whole.values[start + 12 : start + 17, [2, 0]].astype(np.float32))


def test_an_epoch_has_every_window_and_its_order_depends_on_its_number() -> None:
    windows = ForecastingSet(series(60), config(), batch_size=16, seed=1)
    first, again, second = windows.epoch(0), windows.epoch(0), windows.epoch(1)
    assert sorted(np.concatenate(first).tolist()) == list(range(44))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_dev_looks_back_into_train() -> None:
    """With train as its past, the first row of dev is forecast too, and no row of train is."""
    whole = series(40)
    train, dev = (whole._replace(values=part, num_new=len(part)) for part in (whole.values[:30], whole.values[30:]))
    windows = Windows(continued(train, dev), 12, 5)
    assert len(windows) == 10 - 5 + 1
    assert np.array_equal(windows.future(np.array([0]))[0], dev.values[:5].astype(np.float32))
    assert np.array_equal(windows.past(np.array([0]))[0], train.values[-12:].astype(np.float32))


def test_gaps_are_closed_with_the_last_value_known() -> None:
    """Gaps are filled with the last known value, also from before the window; at the start with the first value."""
    gap = np.array([[np.nan, 1.0], [np.nan, np.nan], [3.0, np.nan], [np.nan, 4.0]])
    assert filled(gap).tolist() == [[3.0, 1.0], [3.0, 1.0], [3.0, 1.0], [3.0, 4.0]]
    whole = series(30)
    whole.values[10:20, 0] = np.nan
    windows = Windows(whole._replace(num_new=5), 12, 5)
    assert windows.past(np.array([0]))[0, 0, 0] == np.float32(whole.values[9, 0])


def test_a_gap_in_the_future_stays_one() -> None:
    whole = series(20)
    whole.values[18, 1] = np.nan
    future = Windows(whole, 12, 5).future(np.arange(4))
    assert np.argwhere(np.isnan(future)).tolist() == [[2, 4, 1], [3, 3, 1]]


def test_too_short_a_series_says_how_many_rows_are_needed() -> None:
    with pytest.raises(UnrollError, match=r"16 rows is too short: looking back 12 and forecasting 5 needs at least 17"):
        Windows(series(16), 12, 5)


def test_examples_are_windows_as_a_caller_sends_them() -> None:
    """Examples are raw windows with gaps filled, spread over the new part of the series."""
    whole = series(40)._replace(num_new=10)
    whole.values[20, 0] = np.nan
    first, last = example_frames(whole, config(), 2)
    assert np.array_equal(first["frames"], filled(whole.values)[18:30])
    assert np.array_equal(last["frames"], filled(whole.values)[23:35])


def test_anything_but_one_series_is_refused() -> None:
    only = series(20)
    assert one_series([only]) is only
    with pytest.raises(UnrollError, match="one series is needed"):
        one_series([only, only])
    with pytest.raises(UnrollError, match="one series is needed"):
        one_series([LabelledText("a", "b")])
