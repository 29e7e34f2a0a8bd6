"""Inputs of a model from data files: what `unroll predict FILE` reads, with the readers that training uses.

Columns of labels may be missing, and are ignored. The command finds `read_inputs` by the entry point `unroll.readers`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.bundle.task_options import TrainedTask
from service.errors import InvalidInput, UnrollError
from service.tasks.inputs.json_input import JsonInput
from service.tasks.inputs.sound_file import read_sound
from training.data.formats.column_roles import fields_of
from training.data.formats.dialect import find_dialect, parse
from training.data.formats.faults import DataFault, Report
from training.data.formats.header import listed
from training.data.formats.lines import read_head, read_lines
from training.data.formats.options import Format, ReadOptions
from training.data.formats.slot_folder import find_part
from training.data.formats.tables import Table, pick_column, read_table, take_column
from training.data.read import detect_format, log_report, read_located
from training.data.readers.cells.numbers import NumberReader
from training.data.readers.classification import TEXT_COLUMNS, likely_text_column
from training.data.readers.clips.reading import FILE_COLUMNS as CLIP_COLUMNS
from training.data.readers.clips.reading import frames_in, png_text
from training.data.readers.frame_rows import (
    GROUP_COLUMNS,
    SEQUENCE_COLUMNS,
    SIGNAL_LABELS,
    feature_columns,
    numbers_of,
)
from training.data.readers.listed_files import ListedFiles, files_in
from training.data.readers.pictures import FILE_COLUMNS as PICTURE_COLUMNS
from training.data.readers.signals import FILE_COLUMNS as SOUND_COLUMNS
from training.data.readers.signals import numbered_features, sequences_in
from training.data.readers.sound_files import is_sound
from training.data.readers.speech.frame_arrays import has_arrays
from training.data.readers.translation import pick_source_column
from training.data.records import Series, TaggedSentence

#: The line (the number of the array, the name of the file in a folder) and the input; None for a row without one.
Input = tuple[int | str, JsonInput | None]

_TABLES: tuple[Format, ...] = ("csv", "tsv", "jsonl")
_PLAIN_TEXT = (".txt", ".text", ".md", "")
_TABLE_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def read_inputs(
    path: Path, task: TrainedTask, model: Mapping[str, Any], read: Mapping[str, Any], columns: Sequence[str]
) -> list[Input]:
    """The inputs in a file or folder, in its order.

    Args:
        task: of the model.
        model: the options in its manifest, which name the features of frames and the channels of a series.
        read: how its training data was read, as far as it is known; columns that the file lacks are ignored.
        columns: how this file is read, as `role=value` of the option --column; these columns must be there.

    Raises:
        DataFault: with file, line, what is wrong and what is allowed.
    """
    asked = fields_of(columns)
    try:
        options = ReadOptions.model_validate({**_known(read), **asked})
    except ValidationError as error:
        raise UnrollError(f"--column: {error.errors()[0]['msg']}") from error
    signal = model.get("signal") or {}
    reader = _READERS[signal.get("kind") or task]
    return reader(path, options, _Wanted(task, model, tuple(asked)))


def _known(read: Mapping[str, Any]) -> dict[str, Any]:
    """The options of training that still hold for another file: its columns, not its format."""
    return {name: value for name, value in read.items() if name in ReadOptions.model_fields and name != "format"}


class _Wanted:
    """What the model takes: its task, and the names of features or channels; `asked` are the user's own options."""

    def __init__(self, task: TrainedTask, model: Mapping[str, Any], asked: Sequence[str]) -> None:
        self.task = task
        self.asked = asked
        signal = model.get("signal") or {}
        self.names: tuple[str, ...] = tuple(model.get("channels") or signal.get("features") or ())
        self.look_back = int(model.get("look_back") or 0)


def _table_format(path: Path, task: TrainedTask, options: ReadOptions) -> Format | None:
    """The format of a table; None for a text with one input a line."""
    if options.format is not None:
        return options.format if options.format in _TABLES else None
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in _PLAIN_TEXT:
        return _table_in_text(path, options)
    found = _TABLE_SUFFIXES.get(suffix) or detect_format(task, (path,), options)
    return found if found in _TABLES else None


def _table_in_text(path: Path, options: ReadOptions) -> Format | None:
    """The format of a table that is called a text: each line has as many tabs, or the first one names columns."""
    lines = [line for line in read_head(path, options.encoding) if line.strip()]
    num_tabs = {line.count("\t") for line in lines}
    if len(num_tabs) == 1 and num_tabs != {0}:
        return "tsv"
    rows = [cells for _, cells in parse(lines, find_dialect(lines, "csv", options)) if isinstance(cells, list)]
    widths = {len(cells) for cells in rows}
    names = {cell.strip().casefold() for cell in rows[0]} if rows else set()
    return "csv" if len(rows) > 1 and len(widths) == 1 and widths != {1} and names & {*TEXT_COLUMNS} else None


def _read_texts(path: Path, options: ReadOptions, wanted: _Wanted, role: str) -> list[Input]:
    """One text a row, from its column; or one a line. Blank ones are None."""
    if path.is_dir():
        texts = find_part(path, "seq.in")
        if not texts.is_file():
            raise DataFault(path, None, "this is a folder", "give a file of texts, or a folder with seq.in")
        return _lines(texts, options)
    table_format = _table_format(path, wanted.task, options)
    if table_format is None:
        return _lines(path, options)
    report = Report()
    table = read_table(path, table_format, report, options)
    column = _text_column(table, options, wanted, role, path)
    take_column(table, role, column)
    log_report(report)
    return [(row.line, row.cells.get(column, "").strip() or None) for row in table.rows]


def _lines(path: Path, options: ReadOptions) -> list[Input]:
    lines = read_lines(path, Report(), options.encoding)
    return [(number, line.strip() or None) for number, line in enumerate(lines, start=1)]


def _text_column(table: Table, options: ReadOptions, wanted: _Wanted, role: str, path: Path) -> str:
    field = f"{role}_column"
    named = getattr(options, field)
    if field in wanted.asked or named in table.columns:
        return str(pick_column(table, named, (), role, path))
    pick = pick_source_column if role == "source" else likely_text_column
    found = pick(table, options.model_copy(update={field: None}), path)
    if found is None:
        raise DataFault(path, 1, f"no column of {role}s among: {listed(table.columns)}", f"pass --column {role}=...")
    return found


def _read_tagging(path: Path, options: ReadOptions, wanted: _Wanted) -> list[Input]:
    """Words of tagged sentences; or plain texts, where the file has no tags."""
    if path.is_dir() and not find_part(path, "seq.out").is_file():
        return _read_texts(path, options, wanted, "text")
    report = Report(strict=False)
    try:
        found = read_located("tagging", path, options, report)
    except DataFault as fault:
        report.faults.append(fault)
        found = []
    if not report.faults:
        return [(line, list(record.words)) for record, line in found if isinstance(record, TaggedSentence)]
    if not path.is_dir() and (path.suffix.lower() in _PLAIN_TEXT or path.suffix.lower() in _TABLE_SUFFIXES):
        return _read_texts(path, options, wanted, "text")
    raise report.faults[0]


def _read_series(path: Path, options: ReadOptions, wanted: _Wanted) -> list[Input]:
    """The last rows of a series, by the names of their columns, with their times."""
    table_format = _table_format(path, wanted.task, options) or "csv"
    chosen = _there(read_table(path, table_format, Report(), options), options, wanted)
    changes = {"channel_columns": wanted.names, "target_column": None, "format": table_format}
    report = Report()
    (located,) = read_located("forecasting", path, chosen.model_copy(update=changes), report)
    log_report(report)
    series = located.record
    assert isinstance(series, Series)
    first = max(0, len(series.values) - wanted.look_back)
    values, times = series.values[first:], series.times[first:]
    missing = np.argwhere(~np.isfinite(values))
    if len(missing):
        row, column = missing[0].tolist()
        what = f"{wanted.names[column]!r} is missing, {len(values) - row} rows before the end"
        allowed = f"the last {wanted.look_back} rows need all values: fill the gap, such as with the value before it"
        raise DataFault(path, located.line + first + row, what, allowed)
    return [(located.line, {"frames": values.tolist(), **({"times": list(times)} if times else {})})]


def _read_frames(path: Path, options: ReadOptions, wanted: _Wanted) -> list[Input]:
    """Sequences of frames: an array, lines of JSON, or rows by the names of their columns."""
    if path.suffix.lower() == ".npz" or (wanted.task == "transcription" and has_arrays(path)):
        return _read_arrays(path.with_suffix(".npz"))
    if _TABLE_SUFFIXES.get(path.suffix.lower()) == "jsonl":
        return [(number, _frames_of_line(line, path, number)) for number, line in _numbered_lines(path)]
    table = read_table(path, _table_format(path, wanted.task, options) or "csv", Report(), options)
    options = _there(table, options, wanted)
    sequence = pick_column(table, options.sequence_column, SEQUENCE_COLUMNS, "sequence", path)
    label = pick_column(table, options.label_column, SIGNAL_LABELS, "label", path)
    group = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    features = _features(table, wanted, {sequence, label, group}, path)
    numbers = NumberReader(table.rows, features, options, path, Report())
    found: list[Input] = []
    for rows in _runs(table, sequence, options.window_rows, options.stride_rows or options.window_rows):
        values = numbers_of(rows, features, numbers, path, Report())
        found.append((rows[0].line, {"frames": [] if values is None else values.tolist()}))
    return found


def _there(table: Table, options: ReadOptions, wanted: _Wanted) -> ReadOptions:
    """Without the columns of training that this table lacks; those that the user names stay."""
    roles = [name for name in ReadOptions.model_fields if name.endswith("_column") and name not in wanted.asked]
    gone = [name for name in roles if isinstance(getattr(options, name), str)]
    lacking = [
        name for name in gone if getattr(options, name) not in table.columns and "+" not in getattr(options, name)
    ]
    return options.model_copy(update=dict.fromkeys(lacking))


def _features(table: Table, wanted: _Wanted, others: set[str | None], path: Path) -> tuple[str, ...]:
    """Columns of the features by name; in the order of the file for a model whose data had no names."""
    if wanted.names == numbered_features(len(wanted.names)) and not set(wanted.names) <= set(table.columns):
        found = feature_columns(table, others, path, Report())
        if len(found) != len(wanted.names):
            allowed = f"the model takes {len(wanted.names)} numbers without names"
            raise DataFault(path, 1, f"the features are {', '.join(found)}", allowed)
        return found
    missing = [name for name in wanted.names if name not in table.columns]
    if missing:
        named = ", ".join(table.columns)
        raise DataFault(path, 1, f"no column {missing[0]!r}, which the model takes", f"the columns are: {named}")
    return wanted.names


def _runs(table: Table, sequence: str | None, window: int, stride: int) -> Iterator[list[Any]]:
    """Rows of each sequence, or of each window of it; all rows where there is no column of sequences."""
    start = 0
    for end in range(1, len(table.rows) + 1):
        cells = table.rows[start].cells
        if end < len(table.rows) and (sequence is None or table.rows[end].cells.get(sequence) == cells.get(sequence)):
            continue
        rows = table.rows[start:end]
        size = window or len(rows)
        for first in range(0, max(1, len(rows) - size + 1), stride or size):
            yield rows[first : first + size]
        start = end


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(read_lines(path, Report()), start=1) if line.strip())


def _frames_of_line(line: str, path: Path, number: int) -> JsonInput:
    try:
        return {"frames": json.loads(line)["frames"]}
    except (ValueError, TypeError, KeyError) as error:
        raise DataFault(path, number, f"no frames: {error}", 'each line is like {"frames": [[0.1, 0.2]]}') from error


def _read_arrays(path: Path) -> list[Input]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            x = sequences_in(stored) if "lengths" not in stored else _pieces(stored["frames"], stored["lengths"])
    except (ValueError, OSError, KeyError) as error:
        raise DataFault(path, None, f"no array x or frames can be read: {error}") from error
    if isinstance(x, list):
        return [(number, {"frames": values.tolist()}) for number, values in enumerate(x, start=1)]
    if x is None or x.ndim != 3 or not np.isfinite(x).all():
        raise DataFault(path, None, "invalid array", "x (or frames) must be [sequences, time, features] and finite")
    return [(number, {"frames": values.tolist()}) for number, values in enumerate(x, start=1)]


def _pieces(frames: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    """The frames of each sequence."""
    if frames.ndim != 2 or lengths.ndim != 1 or int(lengths.sum()) != len(frames) or not np.isfinite(frames).all():
        raise ValueError("frames must be [all frames, features] and finite, and lengths add up to them")
    return np.split(frames, np.cumsum(lengths)[:-1])


def _read_files(
    path: Path, options: ReadOptions, wanted: _Wanted, kind: str, usual: Sequence[str], fits: Callable[[Path], bool]
) -> list[Input]:
    """Files of a folder, or those that an index names, in base64."""
    if path.is_dir():
        files = [file for file in files_in(path) if fits(file)]
        if not files:
            raise DataFault(path, None, f"there is no {kind.upper()} file in this folder")
        return [(str(file.relative_to(path)), _encoded(kind, file, None, file.read_bytes)) for file in files]
    if fits(path):
        return [(1, _encoded(kind, path, None, path.read_bytes))]
    table = read_table(path, _table_format(path, wanted.task, options) or "csv", Report(), options)
    column = pick_column(table, _there(table, options, wanted).file_column, usual, "file", path)
    if column is None:
        raise DataFault(path, 1, f"no column of file names among: {', '.join(table.columns)}", "pass --column file=...")
    listed = ListedFiles(path)
    names = ((row.line, row.cells.get(column, "").strip()) for row in table.rows)
    return [(line, _encoded(kind, path, line, partial(listed.read, name)) if name else None) for line, name in names]


def _encoded(kind: str, path: Path, line: int | None, content: Callable[[], bytes]) -> JsonInput:
    try:
        data = content()
        if kind == "wav":
            read_sound(data)
    except (OSError, KeyError, InvalidInput) as error:
        raise DataFault(path, line, f"cannot be read: {error}") from error
    return {kind: base64.b64encode(data).decode("ascii")}


def _read_clips(path: Path, options: ReadOptions, wanted: _Wanted) -> list[Input]:
    """Clips as files; or each clip of an array `[clips, time, rows, columns, 3]`, its frames as PNG files."""
    if path.suffix.lower() == ".npz" or (path.is_file() and not _is_clip(path) and path.with_suffix(".npz").is_file()):
        clips = frames_in(path.with_suffix(".npz"))
        return [(number, {"pictures": [png_text(frame) for frame in clip]}) for number, clip in enumerate(clips, 1)]
    return _read_files(path, options, wanted, "clip", CLIP_COLUMNS, _is_clip)


def _is_clip(path: Path) -> bool:
    return path.suffix.casefold() in (".gif", ".apng", ".png")


def _is_png(path: Path) -> bool:
    return path.suffix.casefold() == ".png"


_Reader = Callable[[Path, ReadOptions, _Wanted], list[Input]]
#: By the kind of signal, else by the task.
_READERS: dict[str, _Reader] = {
    "classification": partial(_read_texts, role="text"),
    "translation": partial(_read_texts, role="source"),
    "tagging": _read_tagging,
    "parsing": _read_tagging,
    "forecasting": _read_series,
    "frames": _read_frames,
    "waveform": partial(_read_files, kind="wav", usual=SOUND_COLUMNS, fits=is_sound),
    "video": _read_clips,
    "captioning": partial(_read_files, kind="png", usual=PICTURE_COLUMNS, fits=_is_png),
}
