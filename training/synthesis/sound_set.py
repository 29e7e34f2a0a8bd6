"""Sets of sounds on disk: parts of up to 1,000, each a ZIP archive of wave files with a TSV file that lists them.

A part is complete when its TSV file exists. Until then its sounds are single files in a hidden folder, from which a
later run goes on, so that nothing is lost when one is stopped.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from service.errors import UnrollError

PART_SIZE = 1000
_SETTINGS_FILE = "made-with.json"
#: Fixed, so that equal sounds make equal archives.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

#: One row of the TSV file, by column; the sound's own columns `file` and `seconds` are added.
Row = dict[str, str]


@dataclass(frozen=True)
class MadeSound:
    """A finished sound: a whole wave file, its duration, and what the TSV file says of it."""

    wave: bytes
    seconds: float
    row: Row


#: Makes the sound of a number; None where that one cannot be made. Must give the same for the same number.
Make = Callable[[int], MadeSound | None]


class SoundSet:
    """A folder of parts `NAME-000.zip` and `NAME-000.tsv`, or `NAME.zip` and `NAME.tsv` where one part is enough."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        """`settings`: whatever decides the sounds; a folder made with others is refused.

        Raises:
            UnrollError: the folder holds sounds made with other settings, or something else.
        """
        self._folder = folder
        _claim(folder, settings)

    def write(self, name: str, count: int, make: Make, jobs: int = 1, part_size: int = 0) -> Iterator[Path]:
        """Make what is missing of `count` sounds, `jobs` at a time. Yields the TSV file of each part when it is there.

        `part_size` 0: all in one part, without a number in its name.
        """
        for part, numbers in _parts(count, part_size):
            table = self._folder / f"{name}{part}.tsv"
            if not _rows_of(table) or (part_size and len(numbers) < part_size and _rows_of(table) < len(numbers)):
                self._write_part(table, numbers, make, jobs)
            yield table

    def _write_part(self, table: Path, numbers: Sequence[int], make: Make, jobs: int) -> None:
        waiting = self._folder / f".{table.stem}"
        waiting.mkdir(exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            made = list(pool.map(lambda number: _made(waiting, number, make), numbers))
        rows = [(waiting / f"{number:06d}.wav", row) for number, row in zip(numbers, made, strict=True) if row]
        if not rows:
            raise UnrollError(f"{table}: not one of {len(numbers)} sounds could be made")
        _pack(table, rows)
        shutil.rmtree(waiting)


def _parts(count: int, part_size: int) -> Iterator[tuple[str, Sequence[int]]]:
    if not part_size:
        yield "", range(count)
        return
    for part, start in enumerate(range(0, count, part_size)):
        yield f"-{part:03d}", range(start, min(start + part_size, count))


def _claim(folder: Path, settings: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    note, text = folder / _SETTINGS_FILE, json.dumps(dict(settings), indent=2, sort_keys=True) + "\n"
    if note.is_file():
        old = json.loads(note.read_text(encoding="utf-8"))
        changed = [key for key in sorted({*old, *settings}) if old.get(key) != json.loads(text).get(key)]
        if changed:
            said = "; ".join(f"{key} was {_short(old.get(key))}, now {_short(settings.get(key))}" for key in changed)
            raise UnrollError(f"{folder} holds sounds made with other settings ({said}): choose another --out")
    elif any(folder.iterdir()):
        raise UnrollError(f"{folder} is not empty and has no {_SETTINGS_FILE}: choose another --out")
    else:
        note.write_text(text, encoding="utf-8")


def _short(value: object, most: int = 60) -> str:
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _rows_of(table: Path) -> int:
    return len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.is_file() else 0


def _made(waiting: Path, number: int, make: Make) -> Row | None:
    """The row of a sound whose wave file is in the folder afterwards: found there, or made now."""
    sound, note = waiting / f"{number:06d}.wav", waiting / f"{number:06d}.json"
    if note.is_file():  # written last
        row: Row = json.loads(note.read_text(encoding="utf-8"))
        return row
    made = make(number)
    if made is None:
        return None
    sound.write_bytes(made.wave)
    row = {"file": sound.name, "seconds": f"{made.seconds:.2f}", **made.row}
    partial = note.with_suffix(".partial")
    partial.write_text(json.dumps(row), encoding="utf-8")
    partial.replace(note)
    return row


def _pack(table: Path, rows: Iterable[tuple[Path, Row]]) -> None:
    """The archive first, then the table that makes it complete; both by renaming."""
    archive, lines = table.with_suffix(".zip"), list[str]()
    partial = table.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, row in rows:
            info = zipfile.ZipInfo(path.name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, path.read_bytes())
            if not lines:
                lines.append("\t".join(row))
            lines.append("\t".join(row.values()))
    partial.replace(archive)
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(table)
