"""Frames of many utterances in one NumPy archive, with a table of their texts beside it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Located, ReadOptions
from training.data.formats.tables import Row, Table, pick_column, read_table
from training.data.readers.columns import state_ignored
from training.data.readers.signals import numbered_features
from training.data.readers.speech.entries import LeftOut, least_steps, tell_left_out
from training.data.readers.speech.sound_table import GROUP_COLUMNS, TABLES, text_column_of
from training.data.records import Utterance

_FORM = "NAME.npz holds frames [all frames, features] and lengths [utterances], NAME.tsv their texts in the same order"
#: A column that repeats the number of frames, which is checked.
_LENGTH_COLUMNS = ("frames", "num_frames")
_Arrays = Mapping[str, NDArray[Any]]


def has_arrays(path: Path) -> bool:
    """Whether a path is an archive of arrays, or a table beside one of its name."""
    if path.suffix.lower() == ".npz":
        return True
    return path.suffix.lower() in TABLES and path.with_suffix(".npz").is_file()


def read_frame_arrays(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read all utterances of an archive and its table; either may be named."""
    index = _table_of(path)
    # The names of the features are no columns of the table.
    of_table = options.model_copy(update={"channel_columns": None})
    table = read_table(index, TABLES[index.suffix.lower()], report, of_table)
    text_column = text_column_of(table, options, index)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", index)
    state_ignored(table, text_column, group_column)
    arrays = _arrays(path.with_suffix(".npz"))
    pieces = _pieces(arrays, table, path.with_suffix(".npz"))
    features = _features(arrays, pieces[0].shape[1] if pieces else 0, options)
    found: list[Located] = []
    empty: list[LeftOut] = []
    short: list[LeftOut] = []
    for row, values in zip(table.rows, pieces, strict=True):
        text = " ".join(row.cells.get(text_column, "").split())
        if not text:
            empty.append(LeftOut(index, row.line, f"line {row.line}"))
        elif len(values) < least_steps(text):
            short.append(LeftOut(index, row.line, f"{len(values)} frames for {text[:40]!r}"))
        elif _has_its_length(row, values, index, report):
            group = row.cells.get(group_column or "", "").strip()
            found.append(Located(Utterance(values, text, features, 0, group), row.line))
    tell_left_out(empty, "without a text", report)
    tell_left_out(short, "too short for the text", report)
    return found


def _table_of(path: Path) -> Path:
    if path.suffix.lower() in TABLES:
        return path
    found = [path.with_suffix(suffix) for suffix in TABLES if path.with_suffix(suffix).is_file()]
    if not found:
        raise DataFault(path, None, f"there is no table {path.with_suffix('.tsv').name} of the texts beside it", _FORM)
    return found[0]


def _arrays(path: Path) -> _Arrays:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataFault(path, None, f"invalid NumPy archive: {error}", _FORM) from error


def _pieces(arrays: _Arrays, table: Table, path: Path) -> list[NDArray[np.float32]]:
    """The frames of each utterance. Raises DataFault where the arrays do not fit each other or the table."""
    frames, lengths = arrays.get("frames"), arrays.get("lengths")
    if frames is None or lengths is None:
        held = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise DataFault(path, None, f"no arrays frames and lengths; it holds {held}", _FORM)
    if frames.ndim != 2 or frames.dtype.kind not in "fiu" or lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        shapes = f"frames {frames.dtype}{list(frames.shape)}, lengths {lengths.dtype}{list(lengths.shape)}"
        raise DataFault(path, None, f"invalid arrays: {shapes}", _FORM)
    if (lengths < 1).any() or int(lengths.sum()) != len(frames):
        what = f"lengths add up to {int(lengths.sum()):,}, but there are {len(frames):,} frames"
        raise DataFault(path, None, what, "every length is at least 1, and all frames belong to an utterance")
    if len(lengths) != len(table.rows):
        what = f"{len(lengths):,} utterances, but {len(table.rows):,} rows in the table of texts"
        raise DataFault(path, None, what, _FORM)
    if not np.isfinite(frames).all():
        row = int(np.argwhere(~np.isfinite(frames))[0, 0])
        which = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
        raise DataFault(
            path, None, f"frame {row:,}, of line {table.rows[which].line}, holds a number that is not finite"
        )
    return np.split(frames.astype(np.float32), np.cumsum(lengths)[:-1])


def _features(arrays: _Arrays, width: int, options: ReadOptions) -> tuple[str, ...]:
    if options.channel_columns:
        return tuple(options.channel_columns)
    named = arrays.get("features")
    return tuple(map(str, named.tolist())) if named is not None and len(named) == width else numbered_features(width)


def _has_its_length(row: Row, values: NDArray[np.float32], index: Path, report: Report) -> bool:
    """Whether a column that repeats the number of frames agrees, which tells of tables in another order."""
    told = next((row.cells[name].strip() for name in _LENGTH_COLUMNS if name in row.cells), "")
    if told.isdecimal() and int(told) != len(values):
        what = f"the table says {told} frames, the array has {len(values)}"
        report.fault(index, row.line, what, "table and arrays are in the same order")
        return False
    return True
