"""Streams with keywords at known places: a table beside the sounds, a row for each keyword."""

from __future__ import annotations

import csv
import math
import zipfile
from pathlib import Path
from typing import NamedTuple

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.sound_file import read_sound
from training.data.formats.faults import DataFault
from training.data.readers.listed_files import ListedFiles

#: The columns of the table, divided by tabs. A stream without keywords has one row, with an empty keyword.
COLUMNS = ("stream", "keyword", "start_s", "end_s")


class Place(NamedTuple):
    """Where a keyword is said, in seconds."""

    keyword: str
    start_s: float
    end_s: float


class Stream(NamedTuple):
    """A recording, and the keywords in it; maybe none."""

    name: str
    sound: Waveform
    places: list[Place]

    @property
    def seconds(self) -> float:
        """The length of the recording."""
        return len(self.sound.samples) / self.sound.sample_rate_hz


def read_keyword_streams(path: Path) -> list[Stream]:
    """The streams of a table in its order, whose sounds are in its folder or in the archive of its name.

    Raises:
        DataFault: the table lacks a column, a place is none, or a sound cannot be read; names the line.
    """
    files, found = ListedFiles(path), dict[str, Stream]()
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            allowed = f"the columns of a table of keywords are {', '.join(COLUMNS)}, divided by tabs"
            raise DataFault(path, 1, f"no column {', '.join(missing)}", allowed)
        for row in rows:
            name, keyword = (row["stream"] or "").strip(), (row["keyword"] or "").strip()
            if name not in found:
                found[name] = Stream(name, _sound(files, name, path, rows.line_num), [])
            if keyword:
                found[name].places.append(_place(keyword, row, path, rows.line_num))
    if not found:
        raise DataFault(path, None, "there is no stream in it")
    return list(found.values())


def _sound(files: ListedFiles, name: str, path: Path, line: int) -> Waveform:
    try:
        return read_sound(files.read(name))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise DataFault(path, line, f"{name} cannot be read: {reason}") from None
    except InvalidInput as error:
        raise DataFault(path, line, f"{name}: {error}") from None


def _place(keyword: str, row: dict[str, str], path: Path, line: int) -> Place:
    try:
        start_s, end_s = float(row["start_s"] or "nan"), float(row["end_s"] or "nan")
    except (TypeError, ValueError):
        start_s = end_s = math.nan
    if not 0 <= start_s <= end_s < math.inf:
        what = f"{row['start_s']} to {row['end_s']} is no place of {keyword!r}"
        raise DataFault(path, line, what, "start_s and end_s are seconds from the start of the stream, in this order")
    return Place(keyword, start_s, end_s)
