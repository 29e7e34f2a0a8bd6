"""Word vectors from a folder: read unchanged, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.config.recipe import ConfigFault
from training.preprocessing.word_vectors import load_vectors, vectors_source

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float16)


def write(folder: Path, words: str = "the\ncat\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "words.txt").write_text(words, encoding="utf-8")
    np.save(folder / "vectors.npy", ROWS)
    return folder


def test_vectors_are_found_by_word(tmp_path: Path) -> None:
    """Row n is the vector of word n; half precision becomes single; other words have none."""
    vectors = load_vectors(str(write(tmp_path)))
    assert vectors.size == 2
    cat = vectors.find("cat")
    assert cat is not None
    assert cat.dtype == np.float32
    assert cat.tolist() == [3.0, 4.0]
    assert vectors.find("Cat") is None


def test_vectors_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved in the data folder."""
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path))
    write(tmp_path / "mini")
    assert load_vectors("mini").words == ("the", "cat")


def test_an_unknown_name_says_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting and every searched path."""
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path))
    with pytest.raises(ConfigFault, match=r"tokenizer\.vectors: no folder 'nothing'") as caught:
        load_vectors("nothing")
    assert str(tmp_path / "nothing") in str(caught.value)


@pytest.mark.parametrize("missing", ["words.txt", "vectors.npy"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    """A folder with one of its two files missing is refused."""
    (write(tmp_path) / missing).unlink()
    with pytest.raises(ConfigFault, match=missing):
        load_vectors(str(tmp_path))


def test_words_and_rows_must_be_as_many(tmp_path: Path) -> None:
    """The error has the numbers of words and rows."""
    with pytest.raises(ConfigFault, match=r"3 words but an array of shape \(2, 2\)"):
        load_vectors(str(write(tmp_path, "the\ncat\ndog\n")))


def test_a_damaged_array_is_a_clear_error(tmp_path: Path) -> None:
    """A truncated array and a pickle are refused with the folder."""
    for content in (b"\x93NUMPY", b"\x80\x04]\x94."):
        (write(tmp_path) / "vectors.npy").write_bytes(content)
        with pytest.raises(ConfigFault, match=rf"tokenizer\.vectors: {tmp_path} cannot be read"):
            load_vectors(str(tmp_path))


def test_only_line_ends_part_words(tmp_path: Path) -> None:
    """Only line feeds separate words, Unicode separators do not, and the final line feed is optional."""
    vectors = load_vectors(str(write(tmp_path, "a\x85b\nc\u2028d")))
    assert vectors.words == ("a\x85b", "c\u2028d")


def test_vectors_are_named_as_data(tmp_path: Path) -> None:
    """The manifest names the vector files, and states no licence for unknown vectors."""
    source = vectors_source(str(write(tmp_path / "mini")))
    assert (source.name, source.licence) == ("mini", "not stated")
    assert source.splits.keys() == {"words.txt", "vectors.npy"}
    assert all(len(digest) == 64 for digest in source.splits.values())
