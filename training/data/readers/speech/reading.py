"""Read utterances: speech with its transcript, for the task transcription.

csv, tsv, jsonl  a table with a column of sound files and one of texts; the files are in the folder of the table, in a
                 usual one below it such as `clips`, in `NAME.zip` next to `NAME.tsv`, or where a whole path says
wav              a folder with such a table, or with its numbered parts
transcripts      a folder of sounds with files `*.trans.txt`, as LibriSpeech has them, or with a text beside each sound
kaldi            a data folder of Kaldi: `wav.scp`, `text`, and `utt2spk` and `segments` where they are
npz              NumPy arrays `frames` [all frames, features] and `lengths` [utterances] in `NAME.npz`, next to a table
                 `NAME.tsv` of the texts in the same order; either file may be named
"""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.readers.speech.corpus_folders import has_transcripts, is_kaldi, kaldi_entries, transcript_entries
from training.data.readers.speech.description import describe_speech
from training.data.readers.speech.entries import read_entries
from training.data.readers.speech.frame_arrays import has_arrays, read_frame_arrays
from training.data.readers.speech.sound_table import TABLES, indices_in, table_entries


def speech_format(path: Path) -> Format | None:
    """Format of a file or folder of speech, where its name or its content tells."""
    if path.is_dir():
        return _format_of_folder(path)
    return "npz" if has_arrays(path) else None


def _format_of_folder(folder: Path) -> Format:
    if is_kaldi(folder):
        return "kaldi"
    tables = [path for path in folder.iterdir() if path.suffix.lower() in TABLES and path.suffix.lower() != ".txt"]
    return "transcripts" if not tables and has_transcripts(folder) else "wav"


def read_speech(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read all utterances."""
    found = _read(path, file_format, options, report)
    describe_speech(found, path, report)
    return found


def _read(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    match file_format:
        case "npz":
            return read_frame_arrays(path, options, report)
        case "kaldi":
            return read_entries(kaldi_entries(path, report), report)
        case "transcripts":
            return read_entries(transcript_entries(path, report), report)
        case "wav":
            tables = indices_in(path) if path.is_dir() else [path]
            return [
                located
                for table in tables
                for located in read_entries(table_entries(table, _format_of(table), options, report), report)
            ]
    return read_entries(table_entries(path, file_format, options, report), report)


def _format_of(table: Path) -> Format:
    return TABLES[table.suffix.lower()]
