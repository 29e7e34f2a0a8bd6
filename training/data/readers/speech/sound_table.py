"""Tables with a column of sound files and one of transcripts."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.sound_file import read_sound
from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, cell_of, pick_column, read_table
from training.data.readers.columns import state_ignored
from training.data.readers.frame_rows import GROUP_COLUMNS as USUAL_GROUPS
from training.data.readers.listed_files import ListedFiles, is_stray
from training.data.records import Utterance

FILE_COLUMNS = (
    *("file", "path", "wav", "audio", "filename", "file_name", "wav_filename", "audio_filepath", "audio_path"),
    *("audio_file", "wav_path", "file_path", "filepath", "clip", "recording"),
)
TEXT_COLUMNS = ("text", "sentence", "transcript", "transcription", "normalized_text", "wrd", "words")
GROUP_COLUMNS = (*USUAL_GROUPS, "client_id", "speaker_id", "spk_id", "spk", "voice", "reader")
TABLES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def index_in(folder: Path) -> Path:
    """The only table in a folder that has a column of files. Raises DataFault."""
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES and not is_stray(path.name)]
    found = [path for path in tables if path.is_file() and _names_files(path)]
    if len(found) != 1:
        named = ", ".join(path.name for path in found) or "none"
        allowed = "name the table itself, which has the columns file and text"
        raise DataFault(folder, None, f"the tables of sounds in this folder: {named}", allowed)
    return found[0]


def _names_files(table: Path) -> bool:
    head = "".join(read_lines(table, Report(strict=False))[:1]).casefold()
    return any(name in head for name in FILE_COLUMNS)


def read_sound_table(path: Path, file_format: Format, options: ReadOptions, report: Report) -> Iterator[Located]:
    """Read one utterance a row."""
    table = read_table(path, file_format, report, options)
    file_column = needed_column(table, options.file_column, FILE_COLUMNS, "file", path)
    text_column = needed_column(table, options.text_column, TEXT_COLUMNS, "text", path)
    group_column = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    state_ignored(table, file_column, text_column, group_column)
    files = ListedFiles(path)
    for row in table.rows:
        name, text = cell_of(row, file_column, path, report), cell_of(row, text_column, path, report)
        sound = _sound(name, row, files, path, report) if name and text else None
        if sound is not None and text is not None:
            group = row.cells.get(group_column or "", "").strip()
            utterance = Utterance(sound.samples, " ".join(text.split()), (), sound.sample_rate_hz, group)
            yield Located(utterance, row.line)


def needed_column(table: Table, wanted: str | None, usual: tuple[str, ...], what: str, path: Path) -> str:
    """A column by the user's name or a usual one. Raises DataFault if there is none."""
    column = pick_column(table, wanted, usual, what, path)
    if column is None:
        meant = {"file": "file names", "text": "texts"}[what]
        named = ", ".join(table.columns) or "none"
        raise DataFault(path, 1, f"no column of {meant} among: {named}", f"pass --column {what}=...")
    return column


def _sound(name: str, row: Row, files: ListedFiles, path: Path, report: Report) -> Waveform | None:
    """Samples of a file at its own rate, or None after a fault, which is reported."""
    try:
        return read_sound(files.read(name))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        report.fault(path, row.line, f"{name} cannot be read: {reason}")
    except InvalidInput as error:
        report.fault(path, row.line, f"{name}: {error}")
    return None
