"""A bundle proves that it is what was published: no byte of it can change, and links lead where they may."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from service.bundle.load import MANIFEST_FILE, load_bundle, read_manifest
from service.bundle.seal import has_seal
from service.errors import BundleCorrupt, BundleError, BundleIncomplete
from tests.allowed_skips import OTHER_SYSTEM
from tests.tiny_bundles import copy_bundle


@pytest.fixture
def bundle(tmp_path: Path, tiny_models: Path) -> Path:
    return copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path / "models")


def is_accepted(bundle: Path, file: Path, content: bytes) -> bool:
    file.write_bytes(content)
    try:
        load_bundle(bundle)
    except BundleError:
        return False
    return True


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_no_byte_of_the_manifest_can_change(bundle: Path, mask: int) -> None:
    """Every byte of the manifest, white space and the digest itself included, with one bit turned."""
    file = bundle / MANIFEST_FILE
    content = file.read_bytes()
    changed = (content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :] for at in range(len(content)))
    assert not [at for at, each in enumerate(changed) if is_accepted(bundle, file, each)]
    assert is_accepted(bundle, file, content)


def test_no_byte_of_the_manifest_can_go_or_come(bundle: Path) -> None:
    file = bundle / MANIFEST_FILE
    content = file.read_bytes()
    places = range(0, len(content), 7)
    shorter = (content[:at] + content[at + 1 :] for at in places)
    longer = (content[:at] + b" " + content[at:] for at in places)
    at_the_ends = (content[:-1], content + b"\n", b" " + content, b"\xef\xbb\xbf" + content)
    assert not [each for each in itertools.chain(shorter, longer, at_the_ends) if is_accepted(bundle, file, each)]


def test_no_file_can_change_or_be_missing(bundle: Path) -> None:
    """A bit of every 97th byte, and the end, of every file that the manifest lists; and each file in turn."""
    for name in read_manifest(bundle).files:
        file = bundle / name
        content = file.read_bytes()
        for at in (*range(0, len(content), 97), len(content) - 1):
            assert not is_accepted(bundle, file, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]), name
        file.unlink()
        with pytest.raises(BundleIncomplete, match="missing"):
            load_bundle(bundle)
        assert is_accepted(bundle, file, content)


def as_it_was(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_labels_cannot_trade_places(bundle: Path, first: int, second: int) -> None:
    """Also where the rest of the file, digest included, is written exactly as before."""
    values = json.loads((bundle / MANIFEST_FILE).read_bytes())
    labels = values["labels"]
    labels[first], labels[second] = labels[second], labels[first]
    assert is_accepted(bundle, bundle / MANIFEST_FILE, as_it_was(values).encode()) == (first == second)


def test_a_changed_manifest_says_so_and_how_to_seal_it(bundle: Path) -> None:
    file = bundle / MANIFEST_FILE
    file.write_bytes(file.read_bytes().replace(b'"greeting"', b'"farewell"'))
    with pytest.raises(BundleCorrupt, match=r"changed after publishing.*unroll models seal tiny-classifier@1"):
        load_bundle(bundle)
    assert "farewell" in read_manifest(bundle, is_edited=True).labels


def test_a_reformatted_manifest_counts_as_changed(bundle: Path) -> None:
    """An editor that moves the digest from its place cannot have kept what it proves."""
    file = bundle / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_bytes()), sort_keys=True), encoding="utf-8")
    assert not has_seal(file.read_bytes())
    with pytest.raises(BundleCorrupt, match="changed after publishing"):
        load_bundle(bundle)


@pytest.mark.parametrize("digest", [None, ""])
def test_a_manifest_from_before_there_was_a_digest_still_loads(bundle: Path, digest: str | None) -> None:
    values = json.loads((bundle / MANIFEST_FILE).read_bytes())
    del values["digest"]
    if digest is not None:
        values["digest"] = digest
    (bundle / MANIFEST_FILE).write_text(as_it_was(values), encoding="utf-8")
    assert load_bundle(bundle).manifest.digest == ""


def into_a_store(bundle: Path, store: Path) -> None:
    """Move every file into a store and link to it, as the Hugging Face cache and DVC do."""
    store.mkdir(parents=True)
    for number, file in enumerate(sorted(bundle.iterdir())):
        file.rename(store / f"blob-{number}")
        file.symlink_to(os.path.relpath(store / f"blob-{number}", bundle))


def test_files_may_be_links_into_the_models_folder_and_allowed_folders(bundle: Path, tmp_path: Path) -> None:
    models = bundle.parents[1]
    into_a_store(bundle, tmp_path / "store" / "blobs")
    with pytest.raises(BundleCorrupt, match=r"outside of the models folder.*UNROLL_LINK_ROOTS"):
        load_bundle(bundle, [models])
    assert load_bundle(bundle, [models, tmp_path / "store"]).examples
    assert load_bundle(bundle).examples, "whoever names a bundle by its path trusts it"


def test_a_manifest_that_leads_outside_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / MANIFEST_FILE).rename(tmp_path / "elsewhere.json")
    (bundle / MANIFEST_FILE).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleCorrupt, match="UNROLL_LINK_ROOTS"):
        load_bundle(bundle, [bundle.parents[1]])


def test_links_within_the_models_folder_need_no_permission(bundle: Path) -> None:
    models = bundle.parents[1]
    into_a_store(bundle, models / ".blobs")
    assert load_bundle(bundle, [models]).examples


@pytest.mark.parametrize("is_version", [True, False])
def test_a_folder_that_leads_outside_is_refused(bundle: Path, tmp_path: Path, is_version: bool) -> None:
    """A linked version, and a linked model, unless the place is allowed."""
    models, linked = bundle.parents[1], bundle if is_version else bundle.parent
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleCorrupt, match="UNROLL_LINK_ROOTS"):
        load_bundle(bundle, [models])
    assert load_bundle(bundle, [models, tmp_path / "elsewhere"]).examples


def test_a_models_folder_that_is_a_link_itself_is_no_matter(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle.parents[1])
    assert load_bundle(tmp_path / "link" / bundle.parent.name / bundle.name, [tmp_path / "link"]).examples


def pipe(file: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip(OTHER_SYSTEM)
    file.unlink()
    os.mkfifo(file)


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def huge(file: Path) -> None:
    os.truncate(file, 1 << 34)


@pytest.mark.parametrize("replace", [pipe, loop, folder])
@pytest.mark.parametrize("name", [MANIFEST_FILE, "tokenizer.json", "classifier.onnx", "examples.jsonl"])
def test_what_is_no_file_is_refused(bundle: Path, replace: Any, name: str) -> None:
    replace(bundle / name)
    with pytest.raises(BundleIncomplete, match=name):
        load_bundle(bundle, [bundle.parents[1]])


def test_a_huge_manifest_is_not_read(bundle: Path) -> None:
    huge(bundle / MANIFEST_FILE)
    with pytest.raises(BundleCorrupt, match="larger than"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../other.onnx", "/etc/passwd", "a/../../b", "", ".", "x\0y"])
def test_a_manifest_cannot_name_files_outside(bundle: Path, name: str) -> None:
    manifest = read_manifest(bundle).model_dump(mode="json") | {"digest": ""}
    manifest["files"][name] = "0" * 64
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleCorrupt, match="outside the bundle"):
        load_bundle(bundle)


def test_a_file_that_the_system_refuses_to_read_is_an_error_of_the_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *arguments: object, **options: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BundleCorrupt, match=r"manifest\.json: cannot be read: Permission denied"):
        load_bundle(bundle)
