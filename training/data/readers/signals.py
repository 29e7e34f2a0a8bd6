"""Read labelled signals: WAV files by index or folder, frames from tables, JSONL or NumPy arrays.

wav     index (CSV, TSV, JSONL) with a column of WAV file names and one of labels; the files are in the folder of the
        index, or in `NAME.zip` next to `NAME.csv`. Or a folder with such an index, or with a folder of WAV files, at
        any depth, for each label. Sample rates may differ.
frames  CSV or TSV with one row per frame: its sequence, its features, and the label, which may be in
        `NAME_targets.csv` next to `NAME_sequences.csv` instead. Or JSONL:
        {"frames": [[...], ...], "label": "..."}. Or a table of one long recording, cut into windows.
npz     NumPy arrays `x` [sequences, time, features] and `y`; `label_names` are the names of the numbers in `y`, from 0.
        Or `frames` and `labels`, whose numbers, from 1, are lines of `labels.txt` in the same folder, if there is one.
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
from service.tasks.inputs.sound_file import read_sound
from training.data.formats.faults import DataFault, Report
from training.data.formats.header import listed
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, cell_of, pick_column, read_table
from training.data.readers.cells.numbers import NumberReader
from training.data.readers.frame_rows import (
    GROUP_COLUMNS,
    SEQUENCE_COLUMNS,
    SIGNAL_LABELS,
    feature_columns,
    is_whole_sequence,
    needed,
    numbers_of,
    read_windows,
)
from training.data.readers.listed_files import ListedFiles, is_stray
from training.data.readers.sound_files import has_sounds, labelled_sounds
from training.data.records import LabelledSignal

FILE_COLUMNS = ("file", "path", "wav", "audio", "filename", "file_name", "recording")

_TABLES: Mapping[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def signal_format(path: Path) -> Format | None:
    """Detect which of these formats a file or folder has; None if it is likely to hold text."""
    if path.is_dir():
        return "wav" if has_sounds(path) else None
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
        return list(
            _read_wav_folder(path, options, report) if path.is_dir() else _read_wav_index(path, options, report)
        )
    if _TABLES.get(path.suffix.lower()) == "jsonl":
        return list(_read_frame_lines(path, options, report))
    return list(_read_frame_rows(path, options, report))


def _read_wav_folder(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    """Sounds by the index in the folder, if there is one; else by the folders that they are in."""
    index = _index_in(path)
    if index is not None:
        yield from _read_wav_index(index, options, report)
        return
    for number, file in enumerate(labelled_sounds(path, report), start=1):
        sound = _sound(str(file.path.relative_to(path)), path, None, file.path.read_bytes, report)
        if sound is not None:
            yield Located(LabelledSignal(sound.samples, file.label, (), sound.sample_rate_hz, file.group), number)


def _index_in(folder: Path) -> Path | None:
    """The only table in the folder that names wave files."""
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _TABLES and not is_stray(path.name)]
    found = [path for path in tables if path.is_file() and signal_format(path) == "wav"]
    return found[0] if len(found) == 1 else None


def _read_wav_index(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    table = read_table(path, _TABLES.get(path.suffix.lower(), "csv"), report, options)
    file_column = needed(pick_column(table, options.file_column, FILE_COLUMNS, "file", path), "file", path)
    label_column = needed(pick_column(table, options.label_column, SIGNAL_LABELS, "label", path), "label", path)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    files = ListedFiles(path)
    for row in table.rows:
        name, label = cell_of(row, file_column, path, report), cell_of(row, label_column, path, report)
        sound = _sound(name, path, row.line, partial(files.read, name), report) if name and label else None
        if sound is not None and label is not None:
            group = row.cells.get(group_column or "", "")
            yield Located(LabelledSignal(sound.samples, label, (), sound.sample_rate_hz, group), row.line)


def _sound(name: str, path: Path, line: int | None, content: Callable[[], bytes], report: Report) -> Waveform | None:
    """Samples of a file at its own rate, or None after a fault, which is reported."""
    try:
        return read_sound(content())
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        report.fault(path, line, f"{name} cannot be read: {_reason(error)}")
    except InvalidInput as error:
        report.fault(path, line, f"{name}: {error}")
    return None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


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
    features = options.channel_columns or feature_columns(table, {sequence, label_column, group}, path, report)
    numbers = NumberReader(table.rows, features, options, path, report)
    table.facts["features"] = listed([f"`{name}`" for name in features])
    seen: dict[tuple[str, str], int] = {}
    for rows in _sequences(table, sequence):
        first = rows[0]
        if not is_whole_sequence(rows, (sequence, label_column, group), seen, path, report):
            continue
        label = cell_of(first, label_column, path, report) if label_column else labels.get(first.cells[sequence])
        if label is None:
            if not label_column:
                report.fault(path, first.line, f"sequence {first.cells[sequence]!r} has no label in the targets")
            continue
        values = numbers_of(rows, features, numbers, path, report)
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
        yield Located(LabelledSignal(frames, label, options.channel_columns or numbered_features(width)), number)


_LINE_FORM = 'each line is like {"frames": [[0.1, 0.2], [0.3, 0.4]], "label": "up"}'


def _read_npz(path: Path, options: ReadOptions) -> Iterator[Located]:
    arrays = _arrays(path)
    x, y = sequences_in(arrays), arrays.get("y", arrays.get("labels"))
    if x is None or y is None or x.ndim != 3 or len(x) != len(y) or not np.isfinite(x).all():
        raise DataFault(
            path,
            None,
            "invalid arrays",
            "x (or frames) must be [sequences, time, features] and finite, y (or labels) [sequences]",
        )
    labels = _label_names(path, arrays, y.tolist())
    group_name = options.group_column or next((name for name in GROUP_COLUMNS if name in arrays), "")
    groups = arrays[group_name].tolist() if group_name in arrays else [""] * len(y)
    features = options.channel_columns or numbered_features(x.shape[2])
    for number, (values, label, group) in enumerate(zip(x.astype(np.float32), labels, groups, strict=True), start=1):
        yield Located(LabelledSignal(values, label, tuple(features), group=str(group)), number)


def sequences_in(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """The array of sequences among those of a file, `[sequences, time, features]` where it is a valid one."""
    return arrays.get("x", arrays.get("frames"))


def _label_names(path: Path, arrays: Mapping[str, NDArray[Any]], numbers: list[Any]) -> list[str]:
    """Names of the labels; their numbers where nothing names them."""
    beside = path.with_name("labels.txt")
    if "label_names" in arrays:
        first, where, names = 0, "label_names", arrays["label_names"].tolist()
    elif "labels" in arrays and beside.is_file():
        first, where, names = 1, beside.name, beside.read_text(encoding="utf-8").splitlines()
    else:
        return [str(number) for number in numbers]
    last = first + len(names) - 1
    for position, number in enumerate(numbers, start=1):
        if not (isinstance(number, int) and first <= number <= last):
            raise DataFault(path, position, f"label {number}", f"{where} names the labels {first} to {last}")
    return [str(names[number - first]).strip() for number in numbers]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataFault(path, None, f"invalid NumPy archive: {error}") from error


def numbered_features(count: int) -> tuple[str, ...]:
    """Names of features that the data does not name."""
    return tuple(f"feature {number}" for number in range(1, count + 1))
