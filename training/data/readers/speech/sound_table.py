"""Tables with a column of sound files and one of transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.header import listed
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, ReadOptions
from training.data.formats.tables import Table, pick_column, read_table, take_column
from training.data.readers.columns import cells_of, column_with_word, doubt_texts, is_aside, state_ignored
from training.data.readers.frame_rows import GROUP_COLUMNS as USUAL_GROUPS
from training.data.readers.listed_files import is_stray
from training.data.readers.speech.entries import Entry
from training.data.readers.speech.sound_files import SpeechFiles

FILE_COLUMNS = (
    *("file", "path", "wav", "audio", "filename", "file_name", "wav_filename", "audio_filepath", "audio_path"),
    *("audio_file", "wav_path", "file_path", "filepath", "clip", "recording", "sound"),
)
TEXT_COLUMNS = ("text", "sentence", "transcript", "transcription", "normalized_text", "wrd", "words")
GROUP_COLUMNS = (*USUAL_GROUPS, "client_id", "speaker_id", "spk_id", "spk", "voice", "reader")
TABLES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
#: `part-000`, `part-001`, ...: one table in several files.
_NUMBERED = re.compile(r"(?P<stem>.*?)[-_.]?\d+")
_FEW_CELLS = 3


def indices_in(folder: Path) -> list[Path]:
    """The tables in a folder that name sounds: one, or the numbered parts of one.

    Raises:
        DataFault: there is no table, or there are several.
    """
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES and not is_stray(path.name)]
    found = [path for path in tables if path.is_file() and _names_files(path)]
    stems = {match["stem"] if (match := _NUMBERED.fullmatch(path.stem)) else path.stem for path in found}
    if len(stems) == 1:
        return found
    if found:
        train = next((path for path in found if path.stem == "train"), found[0])
        dev = next((path for path in found if path.stem in ("dev", "valid", "validation", "val")), None)
        options = f"--train {train}" + (f" --dev {dev}" if dev else "")
        named = ", ".join(path.name for path in found)
        raise DataFault(folder, None, f"several tables of sounds in this folder: {named}", f"pass {options}")
    allowed = "put a table with the columns file and text beside the sounds, or NAME.txt beside each NAME.wav"
    raise DataFault(folder, None, "no table of sounds and texts in this folder", allowed)


def _names_files(table: Path) -> bool:
    """Whether the first line has a usual name of the column of files, or, without names, a sound that is there."""
    first = next(iter(read_lines(table, Report(strict=False))), "")
    if any(re.search(rf"\b{name}\b", first.casefold()) for name in FILE_COLUMNS):
        return True
    files = SpeechFiles(table, Report(strict=False))
    return any(files.has(cell.strip()) for cell in re.split(r"[|,;\t]", first)[:_FEW_CELLS])


def table_entries(path: Path, file_format: Format, options: ReadOptions, report: Report) -> Iterator[Entry]:
    """One entry a row."""
    files = SpeechFiles(path, report)
    table = _table(path, file_format, files, options, report)
    file_column = _file_column(table, files, options, path)
    text_column = text_column_of(table, options, path, file_column)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    doubt_texts(table, text_column, "text", path, report)
    state_ignored(table, file_column, text_column, group_column)
    for row in table.rows:
        name = row.cells.get(file_column, "").strip()
        if not name:
            report.fault(path, row.line, f"{file_column!r} is empty", "every row names a sound")
            continue
        group = row.cells.get(group_column or "", "").strip()
        yield Entry(name, row.cells.get(text_column, ""), group, path, row.line, partial(files.read, name))


def _table(path: Path, file_format: Format, files: SpeechFiles, options: ReadOptions, report: Report) -> Table:
    """The table; without names of columns where its first line names a sound that is there."""
    table = read_table(path, file_format, report, options)
    is_known = {name.casefold() for name in table.columns} & {*FILE_COLUMNS, *TEXT_COLUMNS}
    if table.header is None or is_known or options.header is not None or options.file_column is not None:
        return table
    if not any(map(files.has, table.columns)):
        return table
    return read_table(path, file_format, report, options.model_copy(update={"header": "no"}))


def _file_column(table: Table, files: SpeechFiles, options: ReadOptions, path: Path) -> str:
    """The column that the user named, one of a usual name, or one whose first cells name sounds that are there."""
    column = pick_column(table, options.file_column, FILE_COLUMNS, "file", path)
    if column is None:
        column = next((name for name in table.columns if _all_there(cells_of(table, name)[:_FEW_CELLS], files)), None)
        if column is None:
            raise _no_column(table, "file names", "file", path)
        take_column(table, "file", column)
    return column


def _all_there(cells: Sequence[str], files: SpeechFiles) -> bool:
    return bool(cells) and all(map(files.has, cells))


def text_column_of(table: Table, options: ReadOptions, path: Path, file_column: str | None = None) -> str:
    """The column that the user named, one of a usual name, or the one with the longest texts.

    Raises:
        DataFault: there is none.
    """
    column = pick_column(table, options.text_column, TEXT_COLUMNS, "text", path)
    if column is None:
        column = column_with_word(table, ("text", "transcript", "transcription", "sentence"), (file_column,))
        column = column or (_longest_texts(table, file_column) if table.header is None else None)
        if column is None:
            raise _no_column(table, "texts", "text", path)
        take_column(table, "text", column)
    return column


def _longest_texts(table: Table, file_column: str | None) -> str | None:
    """Of a table without names: the column with the most characters; the last of several."""
    others = [name for name in table.columns if name != file_column and not is_aside(table, name)]
    return max(reversed(others), key=lambda name: sum(map(len, cells_of(table, name))), default=None)


def _no_column(table: Table, what: str, role: str, path: Path) -> DataFault:
    return DataFault(path, 1, f"no column of {what} among: {listed(table.columns)}", f"pass --column {role}=...")
