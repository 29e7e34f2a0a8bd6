"""Read utterances: speech with its transcript, for the task transcription.

csv, tsv, jsonl  a table with a column of sound files and one of texts; the files are in the folder of the table, in
                 `NAME.zip` next to `NAME.tsv`, or where a whole path says. Or the folder with such a table.
npz              NumPy arrays `frames` [all frames, features] and `lengths` [utterances] in `NAME.npz`, next to a table
                 `NAME.tsv` of the texts in the same order. Either file may be named.
"""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.readers.speech.frame_arrays import has_arrays, read_frame_arrays
from training.data.readers.speech.sound_table import index_in, read_sound_table


def speech_format(path: Path) -> Format | None:
    """Format of a file or folder of speech, where its name or its content tells."""
    return "npz" if has_arrays(path) else None


def index_of_speech(path: Path) -> Path:
    """The table in a folder; any other path unchanged. Raises DataFault where there is not exactly one."""
    return index_in(path) if path.is_dir() else path


def read_speech(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read all utterances."""
    if file_format == "npz":
        return read_frame_arrays(path, options, report)
    return list(read_sound_table(path, file_format, options, report))
