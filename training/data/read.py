"""Read labelled files: detect the format, choose the reader, report faults by file and line."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from service.bundle.task_options import TrainedTask
from training.data.formats.faults import DataFault, Report
from training.data.formats.foreign_files import is_web_page
from training.data.formats.lines import read_head, read_text
from training.data.formats.options import FORMATS_OF_TASK, Format, Located, ReadOptions
from training.data.formats.slot_folder import find_part
from training.data.formats.transcript_form import transcript_lines
from training.data.formats.understanding import describe_records, sentence_about, warn_of_length
from training.data.readers.classification import read_labelled_table, read_slot_labels
from training.data.readers.clips.reading import read_clips
from training.data.readers.pictures import index_of_pictures, read_pictures
from training.data.readers.series import read_series
from training.data.readers.signals import read_signals, signal_format
from training.data.readers.speech.reading import read_speech, speech_format
from training.data.readers.tagging import read_columns, read_conllu, read_slots, read_tagged_jsonl
from training.data.readers.text import read_table_text, rejoined
from training.data.readers.translation import read_pair_table, read_parallel
from training.data.readers.treebanks.conllu_line import NUM_COLUMNS
from training.data.readers.treebanks.parsing import read_parsed
from training.data.records import Passage, Record

_LOG = logging.getLogger("training.data")
_MAX_WARNINGS = 10
_JSON_DOCUMENT = re.compile(r"\s*(\[\s*(\{.*)?|\{)\s*")

_OTHER_LAYOUTS = (
    ("__label__", "in fastText's form", "write a CSV file with the columns text and label"),
    ("@relation", "in Weka's ARFF", "save it as CSV, with the names of the columns in the first line"),
    ("@problemname", "in the .ts form of sktime", "save it as .npz with x [sequences, time, features] and y"),
    ("<?xml", "XML", "save it as CSV or JSONL"),
)

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".conllu": "conllu",
    ".conll": "columns",
    ".iob": "columns",
    ".iob2": "columns",
    ".bio": "columns",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}

#: Tasks that read sounds and frames, which more than a name or a first line tells.
_SIGNAL_FORMATS: dict[TrainedTask, Callable[[Path], Format | None]] = {
    "classification": signal_format,
    "transcription": speech_format,
}

_FOLDERS: tuple[Format, ...] = ("slots", "transcripts", "kaldi")
#: Tasks with one reader for all formats.
_ONE_READER: dict[TrainedTask, Callable[[Path, Format, ReadOptions, Report], list[Located]]] = {
    "captioning": read_pictures,
    "transcription": read_speech,
    "forecasting": read_series,
    "parsing": read_parsed,
    "video": read_clips,
}


def read_passages(path: str | Path, options: ReadOptions | None = None) -> list[Passage]:
    """Read running text: lines of a text file, or a column of a table. See `read_records`."""
    return [record for record in read_records("generation", path, options) if isinstance(record, Passage)]


def read_records(task: TrainedTask, path: str | Path, options: ReadOptions | None = None) -> list[Record]:
    """Read all records of a file, a `seq.in/seq.out/label` folder, or two line-aligned files given as `a.en,a.de`.

    What was understood of the file, and warnings, are logged by `training.data`.

    Raises:
        DataFault: with the file, the line, what is wrong and what is allowed.
    """
    report = Report()
    try:
        records = [located.record for located in read_located(task, path, options, report)]
    finally:
        log_report(report)
    return records


def log_report(report: Report) -> None:
    """Log what was understood of files, and the first warnings."""
    for path, facts in report.understood.items():
        _LOG.info("%s", sentence_about(path, facts))
    for warning in report.warnings[:_MAX_WARNINGS]:
        _LOG.warning("%s", warning)
    if len(report.warnings) > _MAX_WARNINGS:
        _LOG.warning("and %d more warnings", len(report.warnings) - _MAX_WARNINGS)


def read_located(
    task: TrainedTask, path: str | Path, options: ReadOptions | None = None, report: Report | None = None
) -> list[Located]:
    """Like `read_records`, with the line of each record. A tolerant report collects faults instead of raising them."""
    options, report = options or ReadOptions(), report or Report()
    paths = split_paths(path, options)
    for part in paths:
        if not part.exists():
            raise DataFault(part, None, "no such file or folder")
    if task == "captioning":
        paths = tuple(map(index_of_pictures, paths))
    file_format = options.format or ("frames" if options.window_rows else detect_format(task, paths, options))
    _check_format(task, file_format, paths)
    for part in paths:
        report.facts(part)["format"] = file_format
    records = _read(task, file_format, paths, options, report)
    if not records and not report.faults:
        is_empty = paths[0].is_file() and paths[0].stat().st_size == 0
        what = "no records found" + (": the file is empty" if is_empty else "")
        report.fault(paths[0], None, what, f"the file was read as {file_format}")
    describe_records(records, paths[0], report)
    warn_of_length(task, records, paths[0], report)
    return records


def split_paths(path: str | Path, options: ReadOptions | None = None) -> tuple[Path, ...]:
    """Split `a.en,a.de` into two paths; likewise `a`, if `options` name the columns `en` and `de` and `a.en` exists.

    A path that exists is returned unchanged, even with a comma in it.
    """
    if Path(path).exists():
        return (Path(path),)
    if "," in str(path):
        return tuple(Path(part.strip()) for part in str(path).split(","))
    columns = (options.source_column, options.target_column) if options else ()
    by_language = tuple(find_part(Path(path).parent, f"{Path(path).name}.{column}") for column in columns if column)
    return by_language if len(by_language) == 2 and any(part.is_file() for part in by_language) else (Path(path),)


def detect_format(task: TrainedTask, paths: tuple[Path, ...], options: ReadOptions | None = None) -> Format:
    """Detect the format: by kind of path, then by content where that is clear, then by file name.

    Raises:
        DataFault: the file holds no text, or nothing tells its format.
    """
    if len(paths) > 1:
        return "parallel"
    if task == "generation":
        return "text"
    if task == "parsing":
        return "conllu"
    of_signals = _SIGNAL_FORMATS[task](paths[0]) if task in _SIGNAL_FORMATS else None
    if of_signals is not None:
        return of_signals
    if paths[0].is_dir():
        return "slots"
    by_name = _FORMAT_OF_SUFFIX.get(_suffix(paths[0]))
    head = read_head(paths[0], options.encoding if options else None)
    if task == "tagging":
        return _tagging_format(head, by_name, options or ReadOptions())
    if _JSON_DOCUMENT.fullmatch(next((line for line in head if line.strip()), "")):
        return "jsonl"
    if by_name in FORMATS_OF_TASK[task] and by_name:
        return by_name
    if any(map(_is_conllu_word, head)):
        what = "the file is CoNLL-U, which holds tags and heads of words"
        raise DataFault(paths[0], None, what, "train tagging or parsing on it")
    return _format_of_content(task, paths[0], head)


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _tagging_format(head: list[str], by_name: Format | None, options: ReadOptions) -> Format:
    """The content decides between CoNLL-U and other columns, whatever the file is called."""
    full = [line for line in head if line.strip()]
    first = full[0] if full else ""
    if by_name == "jsonl" or first.lstrip().startswith('{"') or _JSON_DOCUMENT.fullmatch(first):
        return "jsonl"
    words = [line for line in full if not line.startswith("#")]
    chosen = options.word_column is not None or options.tag_column is not None
    if not chosen and any(map(_is_conllu_word, words)):
        return "conllu"
    has_its_width = any(len(line.split()) == NUM_COLUMNS for line in words)
    return "conllu" if by_name == "conllu" and (has_its_width or not words) else "columns"


def _format_of_content(task: TrainedTask, path: Path, head: list[str]) -> Format:
    first = next((line for line in head if line.strip()), "")
    known = _named_layout(first)
    if known:
        raise DataFault(path, 1, f"the file is {known[0]}", known[1])
    if first.lstrip().startswith("{"):
        return "jsonl"
    if "\t" in first:
        return "tsv"
    if any(separator in first for separator in ",;|"):
        return "csv"
    if not first:
        raise DataFault(path, None, "no records found: the file is empty")
    names = ", ".join(FORMATS_OF_TASK[task])
    raise DataFault(
        path,
        1,
        f"cannot detect the format from name or first line: {first[:60]!r}",
        f"pass --format with one of {names}",
    )


def _named_layout(first: str) -> tuple[str, str] | None:
    """What a first line says that the file is, of kinds that are not read, and what to do."""
    found = (named for start, *named in _OTHER_LAYOUTS if first.lstrip().casefold().startswith(start))
    what, remedy = next(found, ("", ""))
    return (what, remedy) if what else None


def _is_conllu_word(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) == NUM_COLUMNS and cells[0].isdecimal()


def _check_format(task: TrainedTask, file_format: Format, paths: tuple[Path, ...]) -> None:
    if file_format not in FORMATS_OF_TASK[task]:
        names = ", ".join(FORMATS_OF_TASK[task])
        raise DataFault(paths[0], None, f"{task} cannot be read from {file_format}", f"its formats are {names}")
    if len(paths) != (2 if file_format == "parallel" else 1):
        raise DataFault(
            paths[0], None, f"{len(paths)} paths for {file_format}", "only parallel takes two paths, as in a.en,a.de"
        )
    if file_format != "wav" and paths[0].is_dir() != (file_format in _FOLDERS):
        folders = ", ".join(("wav", *_FOLDERS))
        raise DataFault(paths[0], None, f"cannot be read as {file_format}", f"folders are {folders}, others files")


def _read(
    task: TrainedTask, file_format: Format, paths: tuple[Path, ...], options: ReadOptions, report: Report
) -> list[Located]:
    path = paths[0]
    match task, file_format:
        case "tagging", _:
            return _read_tagged(path, file_format, options, report)
        case "classification", "slots":
            return read_slot_labels(path, report)
        case "classification", "wav" | "frames" | "npz":
            return read_signals(path, file_format, options, report)
        case "classification", _:
            return read_labelled_table(path, file_format, options, report)
        case "translation", "parallel":
            return read_parallel(path, paths[1], report, options.encoding)
        case "translation", _:
            return read_pair_table(path, file_format, options, report)
        case (("captioning" | "transcription" | "forecasting" | "parsing" | "video"), _):
            return _ONE_READER[task](path, file_format, options, report)
        case "generation", "csv" | "tsv" | "jsonl":
            return read_table_text(path, file_format, options, report)
        case _:
            return _read_text(path, options, report)


def _read_tagged(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    match file_format:
        case "conllu":
            return read_conllu(path, options, report)
        case "columns":
            return read_columns(path, options, report)
        case "jsonl":
            return read_tagged_jsonl(path, options, report)
        case _:
            return read_slots(path, report)


def _read_text(path: Path, options: ReadOptions, report: Report) -> list[Located]:
    """Read the whole file as one passage."""
    _doubt_text(path, options, report)
    text = read_text(path, report, options.encoding)
    text = rejoined(text) if options.rejoin else text
    text = "".join(transcript_lines(text.splitlines())) if options.spoken else text
    return [Located(Passage(text), 1)] if text.strip() else []


def _doubt_text(path: Path, options: ReadOptions, report: Report) -> None:
    """Warn of a table or a web page that is read as running text, because every file can be."""
    by_name = _FORMAT_OF_SUFFIX.get(_suffix(path))
    if options.format is None and by_name in FORMATS_OF_TASK["generation"]:
        what = f"the file is called {_suffix(path)}, but read as running text, with its separators"
        report.warn(path, None, what, f"pass --format {by_name} for a text from each row, or --format text")
    elif is_web_page("\n".join(read_head(path, options.encoding)[:20])):
        report.warn(path, 1, "the file is a web page (HTML), which is read with its tags", "save its text")
