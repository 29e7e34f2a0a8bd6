"""Folders of speech without a table: LibriSpeech, texts beside their sounds, and data folders of Kaldi."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from service.tasks.inputs.sound_file import SOUND_SUFFIXES
from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines, read_text
from training.data.readers.listed_files import files_in
from training.data.readers.speech.entries import Entry
from training.data.readers.speech.sound_files import SpeechFiles

_OF_CHAPTER = ".trans.txt"
#: The file of the text of `NAME.wav`, the best first: LibriTTS has two of them.
_BESIDE = (".normalized.txt", ".txt", ".lab")
#: A data folder is usually `data/train` below the folder that its paths start from.
_KALDI_FOLDERS_ABOVE = 3
_IN_ARCHIVE = re.compile(r".*\.ark(:\d+)?")
_SEGMENT_CELLS = 4


def is_kaldi(folder: Path) -> bool:
    """Whether a folder is a data folder of Kaldi."""
    return (folder / "wav.scp").is_file()


def has_transcripts(folder: Path) -> bool:
    """Whether there are files of transcripts as LibriSpeech has them, or texts beside their sounds."""
    return any(
        path.name.endswith(_OF_CHAPTER) or (_is_sound(path) and _text_beside(path) is not None)
        for path in files_in(folder)
    )


def transcript_entries(folder: Path, report: Report) -> Iterator[Entry]:
    """Sounds of a folder with their transcripts, at any depth; the first folder, or part of a name, is the speaker."""
    files = list(files_in(folder))
    chapters = [path for path in files if path.name.endswith(_OF_CHAPTER)]
    report.facts(folder)["texts"] = f"{len(chapters):,} files *{_OF_CHAPTER}" if chapters else "beside the sounds"
    if chapters:
        for chapter in chapters:
            yield from _of_chapter(chapter, report)
        return
    alone = [path for path in files if _is_sound(path) and _text_beside(path) is None]
    if alone:
        name = alone[0].relative_to(folder)
        report.warn(folder, None, f"left out: {len(alone):,} sounds without a text beside them; the first: {name}")
    for path in files:
        text_file = _text_beside(path) if _is_sound(path) else None
        if text_file is not None:
            inner = path.relative_to(folder).parts
            group = inner[0] if len(inner) > 1 else ""
            yield Entry(
                str(path.relative_to(folder)), read_text(text_file, report), group, text_file, 1, path.read_bytes
            )


def _of_chapter(chapter: Path, report: Report) -> Iterator[Entry]:
    """Each line of a file is the name of a sound beside it, and its text."""
    for number, line in enumerate(read_lines(chapter, report), start=1):
        name, _, text = line.strip().replace("\t", " ").partition(" ")
        if not name:
            continue
        sound = next((path for path in _beside(chapter.parent / name, SOUND_SUFFIXES) if path.is_file()), None)
        if sound is None:
            report.fault(chapter, number, f"there is no sound {name} beside it", "such as .flac or .wav")
            continue
        yield Entry(sound.name, text, name.partition("-")[0], chapter, number, sound.read_bytes)


def _is_sound(path: Path) -> bool:
    return path.suffix.casefold() in SOUND_SUFFIXES


def _text_beside(sound: Path) -> Path | None:
    return next((path for path in _beside(sound.with_suffix(""), _BESIDE) if path.is_file()), None)


def _beside(stem: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    return (stem.with_name(stem.name + suffix) for suffix in suffixes)


def kaldi_entries(folder: Path, report: Report) -> Iterator[Entry]:
    """Utterances of a data folder: `wav.scp`, `text`, and `utt2spk` and `segments` where they are."""
    if not (folder / "text").is_file():
        raise DataFault(folder, None, "wav.scp without the file `text`", "its lines are: utterance, blank, transcript")
    sounds = _recordings(folder / "wav.scp", report)
    speakers = {name: rest for _, name, rest in _pairs(folder / "utt2spk", report)}
    segments = _segments(folder / "segments", report)
    files = SpeechFiles(folder / "wav.scp", report, above=_KALDI_FOLDERS_ABOVE)
    is_cut = (folder / "segments").is_file()
    for line, name, text in _pairs(folder / "text", report):
        recording, seconds = segments.get(name, ("", None)) if is_cut else (name, None)
        path = sounds.get(recording)
        if path is None:
            missing = "segments" if is_cut and name not in segments else "wav.scp"
            report.fault(folder / "text", line, f"utterance {name} is not in {missing}")
            continue
        yield Entry(path, text, speakers.get(name, ""), folder / "text", line, partial(files.read, path), seconds)


def _pairs(path: Path, report: Report) -> Iterator[tuple[int, str, str]]:
    """Line number, first word and rest of each line; nothing where there is no such file."""
    for number, line in enumerate(read_lines(path, report) if path.is_file() else (), start=1):
        name, _, rest = line.strip().replace("\t", " ").partition(" ")
        if name:
            yield number, name, rest.strip()


def _recordings(path: Path, report: Report) -> dict[str, str]:
    """Names of the sound files. A line that is a command, as Kaldi allows it, is refused."""
    found = {}
    for number, name, source in _pairs(path, report):
        if source.endswith("|"):
            what = f"the sound of {name} is the output of a command, which is not run"
            report.fault(path, number, what, "decode the sounds to files, such as FLAC, and name these in wav.scp")
        elif _IN_ARCHIVE.fullmatch(source):
            report.fault(path, number, f"the sound of {name} is in an archive of Kaldi", "name WAV or FLAC files")
        elif not source:
            report.fault(path, number, f"{name} names no file", "each line is: recording, blank, file")
        else:
            found[name] = source
    return found


def _segments(path: Path, report: Report) -> dict[str, tuple[str, tuple[float, float]]]:
    """Recording and seconds of each utterance."""
    found = {}
    for number, name, rest in _pairs(path, report):
        cells = rest.split()
        try:
            if len(cells) != _SEGMENT_CELLS - 1 or not all(math.isfinite(float(cell)) for cell in cells[1:]):
                raise ValueError(rest)
            found[name] = (cells[0], (float(cells[1]), float(cells[2])))
        except ValueError:
            report.fault(
                path, number, "invalid segment", "each line is: utterance, recording, start and end in seconds"
            )
    return found
