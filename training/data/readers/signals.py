"""Read labelled signals: WAV files by index or folder, frames from tables, JSONL or NumPy arrays.

wav     index (CSV, TSV, JSONL) with a column of WAV file names and one of labels; the files are in the folder of the
        index, or in `NAME.zip` next to `NAME.csv`. Or a folder with one folder of WAV files per label.
frames  CSV or TSV with one row per frame: its sequence, its features, and the label, which may be in
        `NAME_targets.csv` next to `NAME_sequences.csv` instead. Or JSONL:
        {"frames": [[...], ...], "label": "..."}. Or a table of one long recording, cut into windows.
npz     NumPy arrays `x` [sequences, time, features] and `y`; `label_names` are the names of the numbers in `y`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.json_input import read_frames
from service.tasks.inputs.wav import read_wav
from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, cell_of, pick_column, read_table
from training.data.readers.frame_rows import (
    GROUP_COLUMNS,
    SEQUENCE_COLUMNS,
    SIGNAL_LABELS,
    feature_columns,
    needed,
    numbers_of,
    read_windows,
)
from training.data.records import LabelledSignal

FILE_COLUMNS = ("file", "path", "wav", "audio", "filename", "recording")

_TABLES: Mapping[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def signal_format(path: Path) -> Format | None:
    """Detect which of these formats a file or folder has; None if it is likely to hold text."""
    if path.is_dir():
        return "wav" if next(path.glob("*/*.wav"), None) else None
    if path.suffix.lower() == ".npz":
        return "npz"
    if path.suffix.lower() not in _TABLES:
        return None
    head = read_lines(path, Report(strict=False))[:2]
    first, columns = head[0] if head else "", _columns_of(path, head)
    if first.lstrip().startswith("{"):
        return "frames" if "frames" in columns else "wav" if ".wav" in first.lower() else None
    if columns & set(FILE_COLUMNS) and ".wav" in "".join(head[1:]).lower():
        return "wav"
    return "frames" if columns & set(SEQUENCE_COLUMNS) and not columns & {"text", "sentence"} else None


def _columns_of(path: Path, head: list[str]) -> set[str]:
    if _TABLES[path.suffix.lower()] != "jsonl":
        return {cell.strip().casefold() for cell in (head or [""])[0].replace("\t", ",").replace(";", ",").split(",")}
    try:
        return set(json.loads(head[0])) if head else set()
    except (ValueError, TypeError):
        return set()


def read_signals(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read all records of a file or folder."""
    if file_format == "npz":
        return list(_read_npz(path, options))
    if file_format == "wav":
        return list(_read_wav_folder(path, report) if path.is_dir() else _read_wav_index(path, options, report))
    if _TABLES.get(path.suffix.lower()) == "jsonl":
        return list(_read_frame_lines(path, options, report))
    return list(_read_frame_rows(path, options, report))


def _read_wav_folder(path: Path, report: Report) -> Iterator[Located]:
    files = sorted(path.glob("*/*.wav"))
    sounds = _Sounds(path, report)
    for number, file in enumerate(files, start=1):
        sound = sounds.read(str(file.relative_to(path)), None, file.read_bytes)
        if sound is not None:
            yield Located(LabelledSignal(sound.samples, file.parent.name, (), sound.sample_rate_hz), number)


def _read_wav_index(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    table = read_table(path, _TABLES.get(path.suffix.lower(), "csv"), report, options)
    file_column = needed(pick_column(table, options.file_column, FILE_COLUMNS, "file", path), "file", path)
    label_column = needed(pick_column(table, options.label_column, SIGNAL_LABELS, "label", path), "label", path)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    sounds, read = _Sounds(path, report), _opener(path)
    for row in table.rows:
        name, label = cell_of(row, file_column, path, report), cell_of(row, label_column, path, report)
        sound = sounds.read(name, row.line, partial(read, name)) if name and label else None
        if sound is not None and label is not None:
            group = row.cells.get(group_column or "", "")
            yield Located(LabelledSignal(sound.samples, label, (), sound.sample_rate_hz, group), row.line)


def _opener(index: Path) -> Callable[[str], bytes]:
    """Function that reads a file named in the index, from its archive or from its folder."""
    archive = index.with_suffix(".zip")
    if archive.is_file():
        return zipfile.ZipFile(archive).read
    return lambda name: (index.parent / name).read_bytes()


class _Sounds:
    """Reader of WAV files, which must all have the sample rate of the first."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._rate_hz = 0

    def read(self, name: str, line: int | None, content: Callable[[], bytes]) -> Waveform | None:
        """Samples of a file, or None after a fault, which is reported."""
        try:
            sound = read_wav(content())
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            self._report.fault(self._path, line, f"{name} cannot be read: {error}")
            return None
        except InvalidInput as error:
            self._report.fault(self._path, line, f"{name}: {error}")
            return None
        self._rate_hz = self._rate_hz or sound.sample_rate_hz
        if sound.sample_rate_hz == self._rate_hz:
            return sound
        what = f"{name}: the sample rate is {sound.sample_rate_hz} Hz"
        self._report.fault(self._path, line, what, f"the files before have {self._rate_hz} Hz")
        return None


def _read_frame_rows(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    """Read one row per frame. The rows of a sequence are contiguous."""
    if options.window_rows:
        yield from read_windows(path, options, report)
        return
    table = read_table(path, _TABLES.get(path.suffix.lower(), "csv"), report, options)
    sequence = needed(pick_column(table, options.sequence_column, SEQUENCE_COLUMNS, "sequence", path), "sequence", path)
    is_beside = options.label_column not in (None, *table.columns) and _targets_of(path) is not None
    label_column = None if is_beside else pick_column(table, options.label_column, SIGNAL_LABELS, "label", path)
    labels = {} if label_column else _labels_beside(path, sequence, options, report)
    group = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    features = options.channel_columns or feature_columns(table, {sequence, label_column, group})
    for rows in _sequences(table, sequence):
        first = rows[0]
        label = cell_of(first, label_column, path, report) if label_column else labels.get(first.cells[sequence])
        if label is None:
            if not label_column:
                report.fault(path, first.line, f"sequence {first.cells[sequence]!r} has no label in the targets")
            continue
        values = numbers_of(rows, features, path, report)
        if values is not None:
            owner = first.cells[group] if group and group != label_column else ""
            yield Located(LabelledSignal(values, label, tuple(features), group=owner), first.line)


def _sequences(table: Table, column: str) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for row in table.rows:
        if rows and row.cells[column] != rows[0].cells[column]:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _targets_of(path: Path) -> Path | None:
    """File of labels next to a file of sequences, if it exists."""
    beside = path.with_name(path.name.replace("_sequences", "_targets"))
    return beside if beside != path and beside.is_file() else None


def _labels_beside(path: Path, sequence: str, options: ReadOptions, report: Report) -> dict[str, str]:
    """Labels by sequence, from `NAME_targets.csv` next to `NAME_sequences.csv`."""
    beside = _targets_of(path)
    if beside is None:
        raise DataFault(
            path, 1, "no label column found", "pass --column label=..., or put the labels into NAME_targets.csv"
        )
    table = read_table(beside, _TABLES.get(beside.suffix.lower(), "csv"), report, options)
    label = needed(pick_column(table, options.label_column, SIGNAL_LABELS, "label", beside), "label", beside)
    needed(pick_column(table, sequence, (), "sequence", beside), "sequence", beside)
    return {row.cells[sequence]: row.cells[label] for row in table.rows}


def _read_frame_lines(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    label_column = options.label_column or "label"
    width = 0
    for number, line in enumerate(read_lines(path, report), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            frames, label = read_frames(found["frames"]).values, str(found[label_column])
        except InvalidInput as error:
            report.fault(path, number, f"{'.'.join(map(str, error.field))}: {error}")
            continue
        except (ValueError, TypeError, KeyError) as error:
            report.fault(path, number, f"invalid labelled sequence: {error}", _LINE_FORM)
            continue
        width = width or frames.shape[1]
        if frames.shape[1] != width:
            report.fault(path, number, f"a frame has {frames.shape[1]} numbers", f"the first line has {width}")
            continue
        yield Located(LabelledSignal(frames, label, options.channel_columns or _numbered(width)), number)


_LINE_FORM = 'each line is like {"frames": [[0.1, 0.2], [0.3, 0.4]], "label": "up"}'


def _read_npz(path: Path, options: ReadOptions) -> Iterator[Located]:
    arrays = _arrays(path)
    x, y = arrays.get("x"), arrays.get("y")
    if x is None or y is None or x.ndim != 3 or len(x) != len(y) or not np.isfinite(x).all():
        raise DataFault(path, None, "invalid arrays", "x must be [sequences, time, features] and finite, y [sequences]")
    names = arrays.get("label_names")
    labels = [str(names[index]) if names is not None else str(index) for index in y.tolist()]
    group_name = options.group_column or next((name for name in GROUP_COLUMNS if name in arrays), "")
    groups = arrays[group_name].tolist() if group_name in arrays else [""] * len(y)
    features = options.channel_columns or _numbered(x.shape[2])
    for number, (values, label, group) in enumerate(zip(x.astype(np.float32), labels, groups, strict=True), start=1):
        yield Located(LabelledSignal(values, label, tuple(features), group=str(group)), number)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataFault(path, None, f"invalid NumPy archive: {error}") from error


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"feature {number}" for number in range(1, count + 1))
