"""Read captioned pictures: an index (CSV, TSV, JSONL) with a column of PNG file names and one of captions.

The files are in the folder of the index, or in `NAME.zip` or `NAME_*.zip` next to `NAME.csv`. A folder with one index
may be given instead of the index.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from service.errors import InvalidInput
from service.tasks.inputs.png import PictureSize, read_png
from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import cell_of, pick_column, read_table
from training.data.readers.listed_files import ListedFiles, is_stray
from training.data.records import CaptionedPicture

FILE_COLUMNS = ("file", "path", "image", "picture", "png", "filename", "file_name")
CAPTION_COLUMNS = ("caption", "text", "description", "title")
GROUP_COLUMNS = ("group", "vendor", "style", "source", "artist")
_TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson")
#: Each file is decoded once when it is read, to a single pixel, so that damaged files are found early.
_ONE_PIXEL = PictureSize(1, 1)


def index_of_pictures(path: Path) -> Path:
    """The only table in a folder that has a column of file names; any other path unchanged.

    Raises:
        DataFault: the folder has no such table, or several.
    """
    if not path.is_dir():
        return path
    tables = [file for file in sorted(path.iterdir()) if file.suffix.lower() in _TABLES and not is_stray(file.name)]
    indices = [file for file in tables if _names_files(file)]
    if len(indices) != 1:
        found = ", ".join(file.name for file in indices) or "none"
        allowed = "put one table with the columns file and caption into the folder, or name the table itself"
        raise DataFault(path, None, f"the tables of pictures in this folder: {found}", allowed)
    return indices[0]


def _names_files(table: Path) -> bool:
    head = "".join(read_lines(table, Report(strict=False))[:1]).casefold()
    return any(name in head for name in FILE_COLUMNS)


def read_pictures(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read all pictures that the index names."""
    return list(_read(path, file_format, options, report))


def _read(path: Path, file_format: Format, options: ReadOptions, report: Report) -> Iterator[Located]:
    table = read_table(path, file_format, report, options)
    file_column = pick_column(table, options.file_column, FILE_COLUMNS, "file", path)
    caption_column = pick_column(table, options.text_column, CAPTION_COLUMNS, "text", path)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    if file_column is None or caption_column is None:
        missing = "file" if file_column is None else "text"
        raise DataFault(path, 1, f"no column of {_MEANT[missing]} found", f"pass --column {missing}=...")
    files = ListedFiles(path)
    for row in table.rows:
        name, caption = cell_of(row, file_column, path, report), cell_of(row, caption_column, path, report)
        png = _content(name, row.line, files.read, path, report) if name and caption else None
        if png is not None and caption is not None:
            yield Located(CaptionedPicture(png, caption, row.cells.get(group_column or "", "")), row.line)


_MEANT = {"file": "file names", "text": "captions"}


def _content(name: str, line: int, read: Callable[[str], bytes], path: Path, report: Report) -> bytes | None:
    """Bytes of a decodable PNG file, or None after a fault, which is reported."""
    try:
        data = read(name)
        read_png(data, _ONE_PIXEL)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        report.fault(path, line, f"{name} cannot be read: {error}")
        return None
    except InvalidInput as error:
        report.fault(path, line, f"{name}: {error}")
        return None
    return data
