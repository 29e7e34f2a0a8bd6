"""What `unroll transcribe` prints: text, words, JSON lines or subtitles; the text under way on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import IO

from service.cli.transcription.sound_source import Sound
from service.client import Transcript
from service.errors import UnrollError
from service.tasks.transcription.segments import Segment, TimedWord, segments_of
from service.tasks.transcription.subtitles import cues_of, srt_of, vtt_of

_CLEAR_LINE = "\r\x1b[K"
_SUFFIXES = {"text": ".txt", "words": ".tsv", "json": ".jsonl", "srt": ".srt", "vtt": ".vtt"}


class Form(StrEnum):
    """The form of the output."""

    TEXT = "text"
    WORDS = "words"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


class Output:
    """Writes the transcripts of sounds, to standard output or to a file for each in a folder."""

    def __init__(self, form: Form, folder: Path | None, *, has_names: bool, with_partials: bool) -> None:
        """`has_names` puts the name of the sound before each line of text; `with_partials` is for JSON."""
        self._form, self._folder = form, folder
        self._has_names, self._with_partials = has_names, with_partials
        self._is_terminal = sys.stderr.isatty()

    def write(self, sound: Sound, heard: Iterable[Transcript]) -> None:
        """Write everything that is heard in a sound, line by line as it comes. Raises UnrollError.

        A file is made with its first line, or of subtitles when all is heard, and stays if the rest fails.
        """
        shown = self._with_progress(sound, heard)
        if self._folder is None:
            self._write_to(sys.stdout, sound, shown)
            return
        stem = "standard-input" if sound.is_live else Path(sound.name).stem
        path = self._folder / (stem + _SUFFIXES[self._form])
        is_whole = self._form in (Form.SRT, Form.VTT)
        begun = list(islice(shown, None if is_whole else 1))  # first: a sound that is refused leaves no empty file
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="\n") as file:
                self._write_to(file, sound, chain(begun, shown))
        except OSError as error:
            raise UnrollError(f"{path} cannot be written: {error.strerror}") from error
        print(f"{sound.name} -> {path}", file=sys.stderr)

    def _write_to(self, file: IO[str], sound: Sound, heard: Iterator[Transcript]) -> None:
        if self._form in (Form.SRT, Form.VTT):
            cues = cues_of([segment for each in heard if each.is_final for segment in _segments_of(each)])
            file.write(srt_of(cues) if self._form is Form.SRT else vtt_of(cues))
            return
        for each in heard:
            if each.is_final or self._with_partials:
                for line in self._lines(sound, each):
                    print(line, file=file, flush=True)

    def _lines(self, sound: Sound, heard: Transcript) -> list[str]:
        if self._form is Form.JSON:
            return [json.dumps({"file": sound.name, **heard.model_dump(exclude_none=True)}, ensure_ascii=False)]
        name = f"{sound.name}\t" if self._has_names else ""
        if self._form is Form.WORDS:
            return [
                name + "\t".join([*map(_figure, (word.start_s, word.end_s, word.confidence)), word.word])
                for word in heard.words or []
            ]
        return [name + heard.text] if heard.text else []

    def _with_progress(self, sound: Sound, heard: Iterable[Transcript]) -> Iterator[Transcript]:
        """The same, with how far it is, and the text under way, in one line on a terminal."""
        if not self._is_terminal:
            yield from heard
            return
        try:
            for each in heard:
                whole = f" of {sound.duration_s:.1f}" if sound.duration_s else ""
                place = f"{each.end_s or 0.0:.1f}{whole} s"
                line = "" if each.is_final else f"[{place}] {each.text}"
                print(_CLEAR_LINE + _end_of(line), end="", file=sys.stderr, flush=True)
                yield each
        finally:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _segments_of(heard: Transcript) -> list[Segment]:
    """An utterance in segments by its words where it has some, else as one."""
    words = [TimedWord(each.word, each.start_s, each.end_s) for each in heard.words or []]
    if not words and heard.text:
        words = [TimedWord(heard.text, heard.start_s, heard.end_s)]
    return segments_of(words)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _end_of(line: str) -> str:
    """What fits into a line of the terminal: its end, for the newest words are there."""
    width = max(shutil.get_terminal_size().columns - 1, 10)
    return line if len(line) <= width else f"…{line[-width + 1 :]}"
