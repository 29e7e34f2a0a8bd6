"""Read captioned clips: a table (CSV, TSV, JSONL) of captions, actions and next actions.

The clips are GIF or animated PNG files, which a column names, in the folder of the table or in `NAME.zip` beside
`NAME.tsv`; or frames uint8 `[clips, time, rows, columns, 3]` in `NAME.npz`, in the order of the rows.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidInput
from service.tasks.inputs.clips.clip_file import read_clip_file
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, cell_of, pick_column, read_table
from training.data.readers.listed_files import ListedFiles
from training.data.records import CaptionedClip

FILE_COLUMNS = ("file", "path", "clip", "video", "gif", "filename", "file_name")
CAPTION_COLUMNS = ("caption", "text", "description", "title")
ACTION_COLUMNS = ("action", "label", "class")
NEXT_COLUMNS = ("next", "next_action", "following")
GROUP_COLUMNS = ("group", "source", "speaker", "person", "camera")
_FORM = "NAME.npz holds frames uint8 [clips, time, rows, columns, 3], NAME.tsv a row for each clip in the same order"

Pixels = NDArray[np.uint8]


def read_clips(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read all clips of a table."""
    table = read_table(path, file_format, report, options)
    columns = [
        _column(table, chosen, usual, role, path)
        for chosen, usual, role in (
            (options.text_column, CAPTION_COLUMNS, "text"),
            (options.label_column, ACTION_COLUMNS, "label"),
            (options.next_column, NEXT_COLUMNS, "next"),
        )
    ]
    group = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    found: list[Located] = []
    for row, frames in _with_frames(table, path, options, report):
        cells = [cell_of(row, column, path, report) for column in columns]
        if frames is not None and all(cells):
            caption, action, following = map(str, cells)
            clip = CaptionedClip(frames, caption, action, following, row.cells.get(group or "", ""))
            found.append(Located(clip, row.line))
    return found


def _column(table: Table, chosen: str | None, usual: Sequence[str], role: str, path: Path) -> str:
    column = pick_column(table, chosen, usual, role, path)
    if column is None:
        meant = {"text": "captions", "label": "actions", "next": "next actions"}[role]
        raise DataFault(path, 1, f"no column of {meant} found", f"pass --column {role}=...")
    return column


def _with_frames(table: Table, path: Path, options: ReadOptions, report: Report) -> Iterator[tuple[Row, Pixels | None]]:
    """Each row with the frames of its clip; None after a fault, which is reported."""
    archive = path.with_suffix(".npz")
    if archive.is_file() and options.file_column is None:
        yield from zip(table.rows, _frames_in(archive, len(table.rows)), strict=True)
        return
    column = pick_column(table, options.file_column, FILE_COLUMNS, "file", path)
    if column is None:
        raise DataFault(path, 1, f"no column of file names found, and no {archive.name}", "pass --column file=...")
    files = ListedFiles(path)
    for row in table.rows:
        name = cell_of(row, column, path, report)
        yield row, None if name is None else _frames_of(name, row.line, files, path, report)


def frames_in(path: Path) -> Pixels:
    """The array `frames` of an archive. Raises DataFault."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            frames: Pixels = stored["frames"]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataFault(path, None, f"no array frames can be read: {error}", _FORM) from error
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[4] != 3 or 0 in frames.shape:
        raise DataFault(path, None, f"the array frames is {frames.dtype}{list(frames.shape)}", _FORM)
    return frames


def png_text(frame: Pixels) -> str:
    """A frame `[rows, columns, 3]` as a PNG file in base64."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _frames_in(path: Path, num_rows: int) -> Pixels:
    frames = frames_in(path)
    if len(frames) != num_rows:
        raise DataFault(path, None, f"{len(frames):,} clips, but {num_rows:,} rows in the table", _FORM)
    return frames


def _frames_of(name: str, line: int, files: ListedFiles, path: Path, report: Report) -> Pixels | None:
    """All frames of a file, at its own size; None after a fault, which is reported."""
    try:
        return read_clip_file(files.read(name)).frames
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        report.fault(path, line, f"{name} cannot be read: {error}")
    except InvalidInput as error:
        report.fault(path, line, f"{name}: {error}")
    return None
