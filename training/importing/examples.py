"""The examples that a bundle of a foreign model proves itself with: given in a file, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as BadCompression

import numpy as np

from service.bundle.manifest import LENGTHS, TIME_AXIS
from service.bundle.tokenizer import EOS
from service.tasks.core.task import Array
from service.tasks.tensors.short_numbers import plain_numbers
from training.importing.graph.source import ImportRefused
from training.importing.typed import TypedGraph
from training.importing.understanding import Draft, Understanding, ranges_of_ids
from training.publish.array_checks import NamedArrays

#: Steps of the examples that are drawn where the original takes any number of them.
DRAWN_STEPS = (5, 1, 8)
#: Rows of a file that are recorded; the rest is left out.
MAX_EXAMPLES = 32
_MAX_FILE_BYTES = 256 * 1024 * 1024


def examples_of(understanding: Understanding, file: Path | None, seed: int = 0) -> list[Any]:
    """The inputs of a `tensors` bundle's examples, as callers send them. Raises ImportRefused for an unfit file."""
    rows = _drawn(understanding, seed) if file is None else _read(understanding.draft, file)
    return [{"tensors": {name: plain_numbers(array) for name, array in row.items()}} for row in rows]


def examples_of_task(typed: TypedGraph, understanding: Understanding, file: Path | None, seed: int = 0) -> list[Any]:
    """The inputs of a typed bundle's examples: lines of a text file, or rows of frames. Raises ImportRefused."""
    if not typed.tokenizers:
        (name,) = [edge.spec.name for edge in understanding.draft.edges.inputs if edge.spec.name != LENGTHS]
        rows = _drawn(understanding, seed) if file is None else _read(understanding.draft, file)
        return [{"frames": plain_numbers(row[name])} for row in rows]
    if file is None:
        steps = understanding.original.steps
        sizes = DRAWN_STEPS if steps is None else (steps,) * len(DRAWN_STEPS)
        return [_drawn_words(typed, size, seed + number) for number, size in enumerate(sizes)]
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ImportRefused(f"{file} is no text in UTF-8, one example a line") from error
    texts = [line for line in lines if line][:MAX_EXAMPLES]
    if not texts:
        raise ImportRefused(f"{file} has no line of text")
    return texts


def _drawn_words(typed: TypedGraph, count: int, seed: int) -> list[str]:
    """Words of the vocabulary, each of which is one token."""
    (tokenizer,) = typed.tokenizers.values()
    random = np.random.default_rng(seed)
    words: list[str] = []
    for _ in range(100 * count):
        word = tokenizer.token(int(random.integers(EOS, tokenizer.vocabulary_size)))
        if word.strip() and tokenizer.encode_words([word])[0] > EOS:
            words.append(word)
        if len(words) == count:
            return words
    raise ImportRefused("the vocabulary has no words to draw examples from: give texts with --examples FILE")


def _drawn(understanding: Understanding, seed: int) -> list[dict[str, Array]]:
    draft, steps = understanding.draft, understanding.original.steps
    arrays = NamedArrays(draft.spec, draft.state, ranges_of_ids(draft), seed)
    sizes = DRAWN_STEPS if steps is None else (steps,) * len(DRAWN_STEPS)
    feeds = [arrays.feeds(1, size) for size in sizes]
    names = [edge.spec.name for edge in draft.edges.inputs if edge.spec.name != LENGTHS]
    return [{name: each[name][0] for name in names} for each in feeds]


def _read(draft: Draft, file: Path) -> list[dict[str, Array]]:
    """Rows of an `.npz` file, which has an array `[rows, ...]` for each input, and `lengths` where rows are padded."""
    arrays = _arrays_of(file)
    wanted = {edge.spec.name: edge.spec for edge in draft.edges.inputs if edge.spec.name != LENGTHS}
    missing = sorted(wanted.keys() - arrays.keys())
    if missing:
        raise ImportRefused(
            f"{file} has no array {missing[0]!r}; it needs {', '.join(wanted)}, each with one row an example"
        )
    for name, spec in wanted.items():
        _require_shape(file, name, arrays[name], spec.shape)
        if spec.dtype != "float32" and not np.array_equal(arrays[name], np.trunc(arrays[name])):
            raise ImportRefused(f"{file}: {name!r} has fractions, the model takes whole numbers ({spec.dtype})")
    count = min(len(arrays[name]) for name in wanted)
    lengths = _lengths_of(file, arrays, count)
    rows = []
    for row in range(min(count, MAX_EXAMPLES)):
        end = None if lengths is None else int(lengths[row])
        rows.append(
            {
                name: arrays[name][row][:end] if TIME_AXIS in spec.shape else arrays[name][row]
                for name, spec in wanted.items()
            }
        )
    return [{name: _as_dtype(array, wanted[name].dtype) for name, array in row.items()} for row in rows]


def _arrays_of(file: Path) -> Mapping[str, Array]:
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise ImportRefused(f"{file} is larger than {_MAX_FILE_BYTES:,} bytes; {MAX_EXAMPLES} rows are recorded")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened.files}
    except (ValueError, BadZipFile, BadCompression, EOFError, AttributeError, TypeError) as error:
        raise ImportRefused(f"{file} is no .npz file of arrays of numbers, as numpy.savez writes it") from error


def _lengths_of(file: Path, arrays: Mapping[str, Array], count: int) -> Array | None:
    """The steps of each row; None where all are whole. Raises ImportRefused for others than one number a row."""
    lengths = arrays.get(LENGTHS)
    if lengths is None:
        return None
    if lengths.ndim != 1 or len(lengths) < count or lengths.dtype.kind not in "iu" or lengths.min(initial=1) < 1:
        found = f"{lengths.dtype} {list(lengths.shape)}"
        raise ImportRefused(f"{file}: {LENGTHS!r} is {found}, it must be a number of steps for each of {count} rows")
    return lengths


def _require_shape(file: Path, name: str, array: Array, shape: Sequence[int | str]) -> None:
    fits = array.ndim == len(shape) and all(
        size == axis if isinstance(axis, int) else size > 0 for axis, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "biuf":
        raise ImportRefused(f"{file}: {name!r} is {array.dtype} {list(array.shape)}, the model takes {list(shape)}")


def _as_dtype(array: Array, dtype: str) -> Array:
    return np.ascontiguousarray(array.astype(dtype)) if array.ndim else array.astype(dtype)
