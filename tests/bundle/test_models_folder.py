"""A walk of the models folder finds every bundle, whatever lies beside them and whatever cannot be read."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundle.models_folder import ModelsFolder, find_bundles, list_models_folder, printable
from service.errors import BundleIncomplete
from tests.allowed_skips import OTHER_SYSTEM
from tests.tiny_bundles import copy_bundle

GOOD = ("tiny-tagger", "1")


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    copy_bundle(tiny_models / "tiny-tagger" / "1", tmp_path / "models")
    return tmp_path / "models"


def folder(*parts: str) -> Callable[[Path], None]:
    return lambda models: models.joinpath(*parts).mkdir(parents=True)


def link(name: str, target: str) -> Callable[[Path], None]:
    def make(models: Path) -> None:
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).symlink_to(target)

    return make


def copy(name: str) -> Callable[[Path], None]:
    return lambda models: shutil.copytree(models / "tiny-tagger", models / name)


def named_in_bytes(name: bytes) -> Callable[[Path], None]:
    def make(models: Path) -> None:
        try:
            (models / os.fsdecode(name)).mkdir()
        except (OSError, UnicodeError) as error:
            pytest.skip(f"{OTHER_SYSTEM}: {error}")

    return make


def pictures_by_year(models: Path) -> None:
    year = models / "pictures" / "2024"
    year.mkdir(parents=True)
    (year / "cat.png").write_bytes(b"")


STRAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "archive of a Mac": (folder("__MACOSX", "tiny-tagger"), "__MACOSX"),
    "pictures of a document": (folder("docs", "img"), "docs"),
    "thumbnails of a NAS": (folder("@eaDir"), "@eaDir"),
    "lost and found": (folder("lost+found"), "lost+found"),
    "a copy of a model": (copy("backup"), "backup/1"),
    "a copy with a suffix": (copy("tiny-tagger.bak"), "tiny-tagger.bak/1"),
    "a copy by a file manager": (copy("tiny-tagger (copy)"), "tiny-tagger (copy)"),
    "a copy of a version": (folder("tiny-tagger", "1.old"), "tiny-tagger/1.old"),
    "a link to the newest version": (link("tiny-tagger/latest", "1"), "tiny-tagger/latest"),
    "a link to a version": (link("latest", "tiny-tagger/1"), "latest"),
    "another name by a link": (link("alias", "tiny-tagger"), "alias/1"),
    "another version by a link": (link("tiny-tagger/2", "1"), "tiny-tagger/2"),
    "a link to nothing": (link("gone", "nowhere"), "gone"),
    "a link to itself": (link("loop", "loop"), "loop"),
    "capitals": (folder("Spam-EN", "1"), "Spam-EN"),
    "a line break": (folder("spam\nen", "1"), "spam\\nen"),
    "a line break at the end": (folder("spam\n", "1"), "spam\\n"),
    "a quote": (folder('spam"en', "1"), 'spam"en'),
    "not UTF-8": (named_in_bytes(b"caf\xe9"), "caf\\udce9"),
    "digits that are not ASCII": (folder("tiny-tagger", "²"), "tiny-tagger/²"),
    "years that look like versions": (pictures_by_year, "pictures"),
    "an empty folder": (folder("empty"), "empty"),
}
HIDDEN = (".git", ".ipynb_checkpoints", "..2026_11_29", ".dvc")


def identities(found: ModelsFolder) -> list[tuple[str, str]]:
    return [(path.parent.name, path.name) for path in found.bundles]


@pytest.mark.parametrize("kind", STRAYS)
def test_a_stray_folder_is_reported_and_is_no_bundle(models: Path, kind: str) -> None:
    make, name = STRAYS[kind]
    make(models)
    found = list_models_folder(models)
    assert identities(found) == [GOOD]
    assert [printable(stray.path.relative_to(models)) for stray in found.strays] == [name]
    assert "\n" not in str(found.strays[0])


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_folders_are_no_reason_to_warn(models: Path, name: str) -> None:
    (models / name / "1").mkdir(parents=True)
    found = list_models_folder(models)
    assert identities(found) == [GOOD]
    assert [stray.is_hidden for stray in found.strays] == [True]


def test_files_and_staging_are_left_out(models: Path) -> None:
    """Files beside the models, hidden folders of a model and bundles that are being written are not reported."""
    (models / "README.md").write_text("models", encoding="utf-8")
    (models / "tiny-tagger" / "notes.txt").write_text("", encoding="utf-8")
    (models / "tiny-tagger" / ".set-aside" / "2").mkdir(parents=True)
    (models / ".staging" / "x").mkdir(parents=True)
    found = list_models_folder(models)
    assert (identities(found), found.strays) == ([GOOD], ())


def test_a_half_copied_bundle_is_found(models: Path) -> None:
    """A version without a manifest, an empty one, and a link to nothing: loading them says what is wrong."""
    half = models / "half" / "1"
    half.mkdir(parents=True)
    (half / "tagger.onnx").write_bytes(b"")
    (models / "half" / "2").mkdir()
    (models / "half" / "10").symlink_to(models / "unmounted")
    assert identities(list_models_folder(models)) == [("half", "1"), ("half", "2"), ("half", "10"), GOOD]


def test_a_moved_bundle_without_its_original_is_found(models: Path) -> None:
    """A bundle under another name is a copy only while its original is there."""
    (models / "tiny-tagger").rename(models / "moved")
    assert identities(list_models_folder(models)) == [("moved", "1")]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"[" * 100_000, b'{"name": ["tiny-tagger"]}', b"\xff"])
def test_a_manifest_that_cannot_be_read_hides_no_other_bundle(models: Path, content: bytes) -> None:
    broken = models / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_bytes(content)
    assert identities(list_models_folder(models)) == [("broken", "1"), GOOD]


def test_a_pipe_named_like_a_manifest_does_not_block(models: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip(OTHER_SYSTEM)
    (models / "pipe" / "1").mkdir(parents=True)
    os.mkfifo(models / "pipe" / "1" / "manifest.json")
    assert identities(list_models_folder(models)) == [("pipe", "1"), GOOD]


def unreadable(monkeypatch: pytest.MonkeyPatch, path: Path, number: int) -> None:
    """Let listing a folder fail, as for a user without the right to; root has every right."""
    original = os.scandir

    def scandir(folder: Path) -> Any:
        if folder == path:
            raise OSError(number, os.strerror(number), str(folder))
        return original(folder)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ELOOP])
def test_a_model_that_cannot_be_listed_is_told_apart_from_one_that_is_gone(
    models: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (models / "private").mkdir()
    unreadable(monkeypatch, models / "private", number)
    found = list_models_folder(models)
    assert identities(found) == [GOOD]
    assert [stray.path for stray in found.strays] == [models / "private"]
    assert found.unreadable == {models / "private"}


def test_a_version_that_cannot_be_listed_is_a_bundle(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "tiny-tagger" / "2").mkdir()
    unreadable(monkeypatch, models / "tiny-tagger" / "2", errno.EACCES)
    assert identities(list_models_folder(models)) == [GOOD, ("tiny-tagger", "2")]


def test_a_version_that_is_removed_during_the_walk_is_no_bundle(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "tiny-tagger" / "2").mkdir()
    unreadable(monkeypatch, models / "tiny-tagger" / "2", errno.ENOENT)
    assert identities(list_models_folder(models)) == [GOOD]


def test_a_thousand_strays_cost_one_line_each(models: Path) -> None:
    """A folder of something else is one stray, however many folders are in it."""
    for number in range(1000):
        (models / "photos" / f"album-{number}").mkdir(parents=True)
    found = list_models_folder(models)
    assert identities(found) == [GOOD]
    assert len(found.strays) == 1


@pytest.mark.parametrize("root", ["missing", "tiny-tagger/1/manifest.json"])
def test_a_root_that_is_no_folder_is_an_error(models: Path, root: str) -> None:
    with pytest.raises(BundleIncomplete):
        find_bundles(models / root)


def test_a_second_look_reads_only_manifests_that_have_changed(
    tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of bundles are looked at every few seconds."""
    shutil.copytree(tiny_models, tmp_path / "models")
    first = list_models_folder(tmp_path / "models")
    read: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self), read_bytes(self))[1])
    assert list_models_folder(tmp_path / "models") == first
    assert not read
    manifest = first.bundles[0] / "manifest.json"
    manifest.write_bytes(read_bytes(manifest) + b"\n")
    list_models_folder(tmp_path / "models")
    assert read == [manifest]
