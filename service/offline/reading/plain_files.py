"""Texts line by line, sentences of CoNLL files, and folders of sounds, pictures or clips as windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.offline.reading.options import ReadOptions
from service.offline.reading.source import WINDOW_ROWS, KeptType, Row, Window, windows_of
from service.offline.reading.text_lines import Line, TextLines, UnreadableInput
from service.offline.row_values import RowFault
from service.tasks.inputs.sound_file import SOUND_SUFFIXES

_SUFFIXES = {"wav": SOUND_SUFFIXES, "png": (".png",), "clip": (".gif", ".apng", ".png")}
#: A larger file is no sound or picture that a model takes.
_MAX_FILE_BYTES = 1 << 26


class TextFile:
    """One text a line; blank lines are rows too, so that output and input stay line by line. See `Source`."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        """Raises UnreadableInput, MissingColumn."""
        self._path, self._options = path, options
        self.files = [path]
        self.size = path.stat().st_size
        TextLines(path, options.encoding).close()
        options.input_column(["text"])
        self.kept: dict[str, KeptType] = dict.fromkeys(options.kept_columns(["text"]), "text")

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        lines = TextLines(self._path, self._options.encoding)
        rows = (
            Row(RowFault(line.fault) if line.fault else line.text, [line.text] if self.kept else []) for line in lines
        )
        return windows_of(rows, list(self.kept), lambda: lines.position, max_rows)


class _Sentence(NamedTuple):
    text: str | None
    sent_id: str | None
    tokens: Sequence[str]
    fault: str


class ConllFile:
    """Sentences of a CoNLL-U file, or of one with a word and its tags a line. Its tags are not kept. See `Source`."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        """Raises UnreadableInput, MissingColumn."""
        self._path, self._options = path, options
        self.files = [path]
        self.size = path.stat().st_size
        self._is_conllu = path.name.lower().removesuffix(".gz").endswith(".conllu")
        lines = TextLines(path, options.encoding)
        self._has_numbers = self._is_conllu or _has_numbers(lines.head())
        lines.close()
        columns: dict[str, KeptType] = {"text": "text", "sent_id": "text", "tokens": "texts"}
        if not self._is_conllu:
            del columns["text"], columns["sent_id"]
        self._input = options.text_column or "tokens"
        options.input_column(list(columns))
        self.kept: dict[str, KeptType] = {name: columns[name] for name in options.kept_columns(list(columns))}

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        lines = TextLines(self._path, self._options.encoding)
        rows = map(self._row, _sentences(iter(lines), self._has_numbers))
        return windows_of(rows, list(self.kept), lambda: lines.position, max_rows)

    def _row(self, sentence: _Sentence) -> Row:
        value = RowFault(sentence.fault) if sentence.fault else getattr(sentence, self._input)
        return Row(value, [getattr(sentence, name) for name in self.kept])


def _has_numbers(head: Sequence[str]) -> bool:
    """Whether the first column numbers the words of each sentence from 1, and the second has the words."""
    sentences: list[list[str]] = [[]]
    for line in head:
        if not line.strip():
            sentences.append([])
        elif not line.startswith("#"):
            cells = line.split("\t") if "\t" in line else line.split()
            sentences[-1].append(cells[0] if len(cells) > 1 else "")
    starts = [[cell for cell in firsts if "-" not in cell][:2] for firsts in sentences if firsts]
    return ["1", "2"] in starts and all(start in (["1"], ["1", "2"]) for start in starts)


def _sentences(lines: Iterator[Line], has_numbers: bool) -> Iterator[_Sentence]:
    comments: dict[str, str] = {}
    tokens: list[str] = []
    fault = ""
    for line in _ended(lines):
        if not line.text.strip() and not line.fault:
            if tokens or fault:
                yield _Sentence(comments.get("text"), comments.get("sent_id"), tokens, fault)
            comments, tokens, fault = {}, [], ""
        elif _is_comment(line.text, has_numbers, is_first=not tokens):
            name, _, value = line.text[1:].partition("=")
            comments[name.strip()] = value.strip()
        else:
            fault = fault or line.fault
            tokens += _token(line.text, has_numbers)


def _ended(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines, and a blank one that ends the last sentence."""
    yield from lines
    yield Line("")


def _is_comment(line: str, has_numbers: bool, is_first: bool) -> bool:
    """Without numbers, `# id 17` before a sentence is a comment, and `# NN O` may be the word `#` with its tags."""
    return line.startswith("#" if has_numbers else ("# id ", "# text ", "# sent_id ")) and (has_numbers or is_first)


def _token(line: str, has_numbers: bool) -> list[str]:
    """The word of a line; none for a multi-word token, whose words follow, an empty node and a document's start."""
    cells = line.split("\t") if "\t" in line else line.split()
    if not has_numbers:
        return [] if cells[0].startswith("-DOCSTART-") else cells[:1]
    return cells[1:2] if cells[0].isdigit() else []


class FileFolder:
    """Sounds, pictures or clips in a folder and the folders in it, by name. See `Source`.

    The column `file` has their paths. Positions count files.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        """Raises UnreadableInput where there is no such file, MissingColumn."""
        suffixes = _SUFFIXES[options.kind]
        self._path = path
        self.files = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        if not self.files:
            raise UnreadableInput(f"{path}: there is no {' or '.join(suffixes)} file in this folder")
        self.size = len(self.files)
        self.kept: dict[str, KeptType] = dict.fromkeys(options.kept_columns(["file"]), "text")

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        num_read = 0

        def rows() -> Iterator[Row]:
            nonlocal num_read
            for file in self.files:
                num_read += 1
                yield Row(file_content(file), [str(file.relative_to(self._path))] if self.kept else [])

        return windows_of(rows(), list(self.kept), lambda: num_read, max_rows)


def file_content(path: Path) -> bytes | RowFault:
    """The bytes of a file, or why there are none."""
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            return RowFault(f"the file has {size:,} bytes, at most {_MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        return RowFault(f"the file cannot be read: {error.strerror or error}")
