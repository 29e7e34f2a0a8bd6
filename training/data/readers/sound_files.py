"""Folders of sounds: which files are sounds, which folder is the label of each, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.tasks.inputs.sound_file import SOUND_SUFFIXES
from training.data.formats.faults import DataFault, Report
from training.data.readers.columns import warn_of_spellings
from training.data.readers.listed_files import files_in

_OTHER_SOUNDS = (".m4a", ".mp4", ".aac", ".wma", ".sph", ".amr", ".webm", ".caf", ".w64")
#: Names of folders that are parts of a data set, not labels.
_SPLITS = frozenset(
    {"train", "training", "dev", "development", "val", "valid", "validation", "test", "testing", "eval", "evaluation"}
)
_INDEX = "an index: a CSV file with the columns file and label"


class SoundFile(NamedTuple):
    """A file, the folder that is its label, and the folder below that, such as a speaker, if there is one."""

    path: Path
    label: str
    group: str


def is_sound(path: Path) -> bool:
    """Whether a file is named as a sound that is read, in any case."""
    return path.suffix.casefold() in SOUND_SUFFIXES


def has_sounds(folder: Path) -> bool:
    """Whether there is a sound at any depth."""
    return any(is_sound(path) or path.suffix.casefold() in _OTHER_SOUNDS for path in files_in(folder))


def labelled_sounds(folder: Path, report: Report) -> Iterator[SoundFile]:
    """Sounds by the first folder below `folder` (below its only folder, if that holds folders of sounds).

    Raises:
        DataFault: no sound has a label, or the folders are splits.
    """
    files = list(files_in(folder))
    sounds = [path for path in files if is_sound(path)]
    root = _root(folder, sounds)
    labelled = [path for path in sounds if len(path.relative_to(root).parts) > 1]
    others = Counter(path.suffix.casefold() for path in files if path.suffix.casefold() in _OTHER_SOUNDS)
    _require_labels(root, sounds, labelled, others)
    _tell_left_out(root, len(sounds) - len(labelled), others, report)
    _doubt_outer_folders(root, labelled, report)
    warn_of_spellings(sorted({path.relative_to(root).parts[0] for path in labelled}), root, report)
    for path in labelled:
        label, *inner, _ = path.relative_to(root).parts
        yield SoundFile(path, label, inner[0] if inner else "")


def _root(folder: Path, sounds: Sequence[Path]) -> Path:
    """The folder of the label folders: an archive often unpacks into one folder more."""
    tops = {path.relative_to(folder).parts[0] for path in sounds}
    depths = {len(path.relative_to(folder).parts) for path in sounds}
    return folder / tops.pop() if len(tops) == 1 and min(depths) > 2 else folder


def _require_labels(root: Path, sounds: Sequence[Path], labelled: Sequence[Path], others: Counter[str]) -> None:
    tops = sorted({path.relative_to(root).parts[0] for path in labelled})
    if not sounds and others:
        raise DataFault(root, None, f"no sounds that are read, but {_counted(others)}", "convert them to WAV")
    if not labelled:
        allowed = f"put each into a folder with the name of its label, or write {_INDEX}"
        raise DataFault(root, None, f"{len(sounds):,} sounds, none in a folder of its own label", allowed)
    if all(top.casefold() in _SPLITS for top in tops):
        options = " ".join(
            f"--{role} {root / top}" for role, top in zip(("train", "dev"), _in_order(tops), strict=False)
        )
        raise DataFault(root, None, f"the folders {', '.join(tops)} are splits, not labels", f"pass {options}")


def _in_order(tops: Sequence[str]) -> list[str]:
    return sorted(tops, key=lambda top: (not top.casefold().startswith("train"), top.casefold().startswith("test")))


def _tell_left_out(root: Path, num_unlabelled: int, others: Counter[str], report: Report) -> None:
    if num_unlabelled:
        report.warn(root, None, f"left out: {num_unlabelled:,} sounds outside of the folders of labels")
    if others:
        report.warn(root, None, f"left out: {_counted(others)}, which are not read; convert them to WAV")


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))


def _doubt_outer_folders(root: Path, labelled: Sequence[Path], report: Report) -> None:
    """Warn where each folder holds the same folders: speakers of words, or words of speakers."""
    inner: dict[str, set[str]] = {}
    for path in labelled:
        parts = path.relative_to(root).parts
        inner.setdefault(parts[0], set()).update(parts[1:-1][:1])
    first = next(iter(inner.values()))
    if len(inner) > 1 and len(first) > 1 and all(names == first for names in inner.values()):
        outer, within = ", ".join(list(inner)[:3]), ", ".join(sorted(first)[:3])
        report.warn(root, None, f"labels are the outer folders ({outer}); if they are {within}, write {_INDEX}")
