"""Pretrained word vectors: a folder with `words.txt` (most frequent first) and `vectors.npy`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from service.bundle.load import file_digest
from service.bundle.manifest import DataSource
from service.bundle.padding import FloatArray
from training.config.recipe import ConfigFault
from training.data.public.locate import dataset_folders

WORDS_FILE, ROWS_FILE = "words.txt", "vectors.npy"
#: Public vectors by name: licence and attribution.
NAMED_VECTORS = {
    "glove_100d": ("PDDL 1.0", "GloVe 6B, 100 dimensions: Pennington, Socher and Manning (2014), EMNLP."),
}


@dataclass(frozen=True)
class WordVectors:
    """`rows[i]` is the vector of `words[i]`."""

    words: tuple[str, ...]
    rows: FloatArray = field(repr=False)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        return int(self.rows.shape[1])

    def find(self, word: str) -> FloatArray | None:
        """The vector of exactly this word, or None."""
        number = self._index.get(word)
        return None if number is None else self.rows[number]


def load_vectors(name_or_folder: str) -> WordVectors:
    """Read vectors from a folder, or by name from the data folder.

    Raises:
        ConfigFault: the folder or one of its two files is missing or damaged, or the two do not match.
    """
    folder = find_vectors(name_or_folder)
    try:
        # Not `splitlines`, which also splits at rarer line separators that a word may contain.
        words = tuple((folder / WORDS_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        rows = np.load(folder / ROWS_FILE, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigFault(f"tokenizer.vectors: {folder} cannot be read: {error}") from error
    if rows.ndim != 2 or len(rows) != len(words):
        raise ConfigFault(f"tokenizer.vectors: {len(words)} words but an array of shape {rows.shape} in {folder}")
    return WordVectors(words, rows.astype(np.float32))


def vectors_source(name_or_folder: str) -> DataSource:
    """Source and licence of the vectors, for the manifest."""
    folder = find_vectors(name_or_folder)
    licence, attribution = NAMED_VECTORS.get(folder.name, ("not stated", ""))
    digests = {name: file_digest(folder / name) for name in (WORDS_FILE, ROWS_FILE)}
    return DataSource(name=folder.name, licence=licence, attribution=attribution, splits=digests)


def find_vectors(name_or_folder: str) -> Path:
    """The folder that holds both files. Raises ConfigFault with the places searched."""
    candidates = [Path(name_or_folder), *dataset_folders(name_or_folder)]
    folder = next((candidate for candidate in candidates if candidate.is_dir()), None)
    if folder is None:
        tried = ", ".join(str(candidate) for candidate in candidates)
        raise ConfigFault(f"tokenizer.vectors: no folder {name_or_folder!r}; looked at {tried}")
    for name in (WORDS_FILE, ROWS_FILE):
        if not (folder / name).is_file():
            raise ConfigFault(f"tokenizer.vectors: {folder / name} is missing")
    return folder
