"""Every table of datasets.toml is a valid entry, and an invalid one is named in the error."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from training.data.formats.options import FORMATS_OF_TASK
from training.data.public.catalogue import CATALOGUE_FILE, NAMED_DATASETS, read_catalogue
from training.data.public.named_dataset import NamedDataset, Split

SHA256 = "0" * 64
TABLE = f"""
[tiny]
tasks = ["tagging"]
licence = "CC0 1.0"
attribution = "Tiny"
home = "https://home"
may_ship = true
base_url = "https://files"
splits.train.files = [{{ path = "train.txt", sha256 = "{SHA256}", remote = "all.txt", byte_range = [0, 9] }}]
splits.dev.path = "dev"
splits.dev.files = [{{ path = "dev/a", sha256 = "{SHA256}" }}, {{ path = "dev/b", sha256 = "{SHA256}" }}]
read.tag_column = 2
"""


def catalogue_of(tmp_path: Path, text: str) -> dict[str, NamedDataset]:
    file = tmp_path / "datasets.toml"
    file.write_text(text, encoding="utf-8")
    return read_catalogue(file)


@pytest.mark.parametrize("entry", NAMED_DATASETS.values(), ids=lambda entry: entry.name)
def test_every_entry_is_consistent(entry: NamedDataset) -> None:
    """Each entry has both splits, valid paths, a known format, and either a download address or a conversion note."""
    assert set(entry.splits) == {"train", "dev"}
    assert entry.attribution
    assert entry.home.startswith("https://")
    assert entry.base_url.startswith("https://") or entry.note
    assert not entry.base_url.endswith("/")
    for task in entry.tasks:
        assert entry.options.format in (None, *FORMATS_OF_TASK[task])
    for split in entry.splits.values():
        assert_sound(split)


def assert_sound(split: Split) -> None:
    """Paths stay inside the folder, are distinct and belong to files that readers open; a byte range is not empty."""
    paths = [file.path for file in split.files]
    assert len(set(paths)) == len(paths)
    assert not [path for path in paths if path.startswith("/") or ".." in path]
    assert split.path in paths or all(path.startswith((f"{split.path}/", f"{split.path}.")) for path in paths)
    assert all(file.byte_range is None or 0 <= file.byte_range[0] < file.byte_range[1] for file in split.files)


def test_no_two_files_of_a_folder_are_confused() -> None:
    """Within a folder, including one shared by several data sets, each path has one digest."""
    digests: dict[tuple[str, str], str] = {}
    for entry in NAMED_DATASETS.values():
        for file in (file for split in entry.splits.values() for file in split.files):
            assert digests.setdefault((entry.folder or entry.name, file.path), file.sha256) == file.sha256


def test_each_table_has_a_comment_that_says_what_it_is_for() -> None:
    """The line above each table's name is a comment."""
    lines = CATALOGUE_FILE.read_text(encoding="utf-8").splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("[")]
    assert len(tables) == len(NAMED_DATASETS)
    assert all(lines[number - 1].startswith("# ") for number in tables)


def test_a_table_becomes_an_entry(tmp_path: Path) -> None:
    """A split of one file opens that file; the download address joins the base address and the remote name."""
    entry = catalogue_of(tmp_path, TABLE)["tiny"]
    train, dev = entry.splits["train"], entry.splits["dev"]
    assert (train.path, dev.path, entry.options.tag_column) == ("train.txt", "dev", 2)
    assert (train.files[0].byte_range, entry.url_of(train.files[0])) == ((0, 9), "https://files/all.txt")
    assert entry.url_of(dev.files[0]) == "https://files/dev/a"


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        (SHA256, "abc", "tiny.splits.train.files.0.sha256"),
        ('splits.dev.path = "dev"', "", "tiny.splits.dev.path"),
        ("may_ship = true", "may_shipp = true", "tiny.may_shipp"),
        ("tag_column", "tag_colum", "tiny.read.tag_colum"),
        ('"tagging"', '"stemming"', "tiny.tasks.0"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, right: str, wrong: str, where: str) -> None:
    """The error has the path of the invalid field, starting with the table's name."""
    with pytest.raises(ValidationError) as caught:
        catalogue_of(tmp_path, TABLE.replace(right, wrong))
    assert where in [".".join(map(str, error["loc"])) for error in caught.value.errors()]
