"""Named data sets come from the user's folder, the cache or a download; otherwise the error says what to fetch."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.allowed_skips import NO_DATA
from training.data.formats.faults import DatasetUnavailable
from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import cache_dir, locate
from training.data.public.named_dataset import NamedDataset
from training.data.read import read_records, split_paths
from training.data.records import Record

CONTENT = b"label\ttext\nx\tone\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`data` and `cache` in a temporary folder, set through environment variables."""
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("UNROLL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """URL of a file served by a local HTTP server."""
    public = tmp_path / "public"
    public.mkdir()
    (public / "all.tsv").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(public)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/all.tsv"
    http.shutdown()
    thread.join()
    http.server_close()


def add_dataset(
    monkeypatch: pytest.MonkeyPatch, url: str = "", content: bytes = CONTENT, part: tuple[int, int] | None = None
) -> None:
    """Add a data set named `tiny` with one split of one file."""
    base_url, _, remote = url.rpartition("/")
    file = {"path": "train.tsv", "sha256": digest(content), "remote": remote, "byte_range": part}
    entry = {"tasks": ["classification"], "licence": "CC0", "attribution": "", "home": "https://home", "may_ship": True}
    splits = {"train": {"files": [file]}}
    tiny = NamedDataset.model_validate({"name": "tiny", "splits": splits, "base_url": base_url, **entry})
    monkeypatch.setitem(NAMED_DATASETS, "tiny", tiny)


@pytest.mark.parametrize("name", ["train.tsv", "train.tsv.gz"])
def test_file_in_the_data_folder_is_taken(folders: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Compressed or not, the digest is that of the content."""
    add_dataset(monkeypatch)
    path = folders / "data" / "tiny" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(CONTENT) if name.endswith("gz") else CONTENT)
    assert locate("tiny", "train") == path


def test_changed_file_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and both digests."""
    add_dataset(monkeypatch)
    path = folders / "data" / "tiny" / "train.tsv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(DatasetUnavailable, match=f"{digest(CONTENT + b'x')}, expected {digest(CONTENT)}"):
        locate("tiny", "train")


def test_download_is_kept_in_the_cache(folders: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """The file is fetched once, the second lookup needs no network, and no temporary file is left."""
    add_dataset(monkeypatch, server)
    path = locate("tiny", "train")
    assert path == folders / "cache" / "tiny" / "train.tsv"
    assert path.read_bytes() == CONTENT
    add_dataset(monkeypatch, "http://127.0.0.1:9/nothing")
    assert locate("tiny", "train") == path
    assert [file.name for file in path.parent.iterdir()] == ["train.tsv"]


def test_part_of_a_public_file(folders: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Only the given byte range of the remote file is kept, and the digest is that of the range."""
    add_dataset(monkeypatch, server, CONTENT[3:9], (3, 9))
    assert locate("tiny", "train").read_bytes() == CONTENT[3:9]


def test_wrong_download_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Content with a wrong digest is never stored under the file's name, and the message says where to put the file."""
    add_dataset(monkeypatch, server, b"something else")
    with pytest.raises(DatasetUnavailable, match=f"expected sha256:.* but got {digest(CONTENT)}") as caught:
        locate("tiny", "train")
    assert str(folders / "data" / "tiny") in str(caught.value)
    assert not list((folders / "cache" / "tiny").iterdir())


def test_no_network_is_a_clear_error(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the address, the folder and the file."""
    add_dataset(monkeypatch, "http://127.0.0.1:9/all.tsv")
    with pytest.raises(DatasetUnavailable, match=r"could not be downloaded.*put there: train.tsv"):
        locate("tiny", "train")


def test_data_that_has_to_be_converted_is_not_fetched(folders: Path) -> None:
    """A data set whose public form differs is not downloaded, and the message describes the required form."""
    with pytest.raises(DatasetUnavailable, match=r"have to be converted first.*clinc/oos-eval.*intent, domain, text"):
        locate("clinc150", "train")


def test_unknown_names_list_what_there_is(folders: Path) -> None:
    """The error lists the known names, for the data set and for the split."""
    with pytest.raises(DatasetUnavailable, match="sms_spam"):
        locate("nothing", "train")
    with pytest.raises(DatasetUnavailable, match="it has train, dev"):
        locate("sms_spam", "test")


@pytest.mark.parametrize("name", sorted(NAMED_DATASETS))
def test_named_sets_can_be_read(name: str) -> None:
    """The dev split has the digest of the catalogue and records of its task."""
    data_dir = os.environ.get("UNROLL_DATA_DIR")
    entry = NAMED_DATASETS[name]
    if not data_dir or not (Path(data_dir) / (entry.folder or name)).is_dir():
        pytest.skip(f"{NO_DATA}: {name}")
    for task in entry.tasks:
        records = read_records(task, locate(name, "dev"), entry.options)
        assert records
        assert all(_is_whole(record) for record in records)


def _is_whole(record: Record) -> bool:
    """No required field of the record is empty."""
    parts = zip(record._fields, record, strict=True)
    return all(isinstance(part, int) or len(part) for name, part in parts if name not in record._field_defaults)


def test_comma_in_a_file_name_is_no_list(tmp_path: Path) -> None:
    """An existing path that contains a comma is one path."""
    path = tmp_path / "a,b.tsv"
    path.write_bytes(CONTENT)
    assert split_paths(path) == (path,)
    assert split_paths("x.en, x.de") == (Path("x.en"), Path("x.de"))


def test_without_a_home_the_settings_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a home, as in containers, is told which variables name a folder; a set one is enough."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("UNROLL_CACHE_DIR", raising=False)
    with pytest.raises(DatasetUnavailable, match="set UNROLL_CACHE_DIR to a folder"):
        cache_dir()
    monkeypatch.setenv("UNROLL_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
