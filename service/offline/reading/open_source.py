"""A file or folder as a source of rows, by its suffix and what is in it."""

from __future__ import annotations

from pathlib import Path

from service.distribution import install_hint
from service.offline.reading.json_lines_file import JsonLinesFile
from service.offline.reading.options import ReadOptions
from service.offline.reading.plain_files import ConllFile, FileFolder, TextFile
from service.offline.reading.source import Source
from service.offline.reading.table_file import TableFile
from service.offline.reading.text_lines import UnreadableInput

_TABLES = {".csv": False, ".tsv": True, ".tab": True}
_JSON_LINES = (".jsonl", ".ndjson")
_TEXTS = (".txt", ".text")
_CONLL = (".conllu", ".conll", ".iob", ".iob2", ".bio")
_PARQUET = (".parquet", ".pq")
FORMS = ".csv, .tsv, .jsonl, .txt and .conllu (each also with .gz), .parquet, a folder of .parquet, .wav or .png files"


def open_source(path: Path, options: ReadOptions) -> Source:
    """The rows of a file or folder.

    Raises:
        UnreadableInput: there is none, it cannot be read, or its form is not known.
        MissingColumn: the column of inputs, or one that is kept, is not there.
    """
    if path.is_dir():
        return _folder(path, options)
    if not path.is_file():
        what = "this is a stream: save it in a file first" if path.exists() else "there is no such file or folder"
        raise UnreadableInput(f"{path}: {what}")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in _TABLES:
        return TableFile(path, options, _TABLES[suffix])
    if suffix in _JSON_LINES:
        return JsonLinesFile(path, options)
    if suffix in _TEXTS:
        return TextFile(path, options)
    if suffix in _CONLL:
        return ConllFile(path, options)
    if suffix in _PARQUET:
        return _parquet(path, options)
    raise UnreadableInput(f"{path}: what is read is {FORMS}")


def _folder(path: Path, options: ReadOptions) -> Source:
    if any(path.glob("*.parquet")):
        return _parquet(path, options)
    if options.kind in ("wav", "png", "clip"):
        return FileFolder(path, options)
    raise UnreadableInput(f"{path}: this is a folder without .parquet files; what is read is {FORMS}")


def _parquet(path: Path, options: ReadOptions) -> Source:
    try:
        from service.offline.reading.parquet_file import ParquetFile
    except ModuleNotFoundError as error:
        raise UnreadableInput(f"{path}: Parquet files need pyarrow: {install_hint('parquet')}") from error
    return ParquetFile(path, options)
