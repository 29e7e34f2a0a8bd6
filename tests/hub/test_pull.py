"""A pull publishes a whole bundle that was checked, and leaves nothing where anything is wrong."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.bundle.load import MANIFEST_FILE, file_digest, load_bundle, read_manifest
from service.bundle.models_folder import SET_ASIDE_FOLDER, STAGING_FOLDER, find_bundles
from service.bundle.write import SIGNATURE_FILE, write_manifest
from service.errors import HubError, NotThere
from service.hub.address import parse_address
from service.hub.pull import Expected, Found, Pulling, local_bundle, pull
from service.hub.signature import sign
from service.inference.engines.open_bundle import open_bundle
from tests.hub.servers import WebServer
from tests.hub.tampering import at, nothing_is_left, reseal

KEY = Ed25519PrivateKey.generate()


def write_signature(bundle: Path, digest: str, key: Ed25519PrivateKey = KEY) -> None:
    (bundle / SIGNATURE_FILE).write_text(sign(digest, key).model_dump_json(), encoding="utf-8")


def test_a_pulled_bundle_is_the_same_bundle_and_can_be_opened(bundle: Path, here: Pulling) -> None:
    """It is told before its files come, lies under its own name and version, and the hidden folder is gone."""
    told: list[Found] = []
    pulled = pull(parse_address(bundle.as_uri()), here, tell=told.append)
    assert pulled.outcome == "pulled"
    assert pulled.path == here.models_root / "tiny" / "3"
    assert [found.manifest.name for found in told] == ["tiny"]
    assert load_bundle(pulled.path).digest == file_digest(bundle / MANIFEST_FILE)
    assert open_bundle(pulled.path, device="cpu", threads=1).bundle.manifest.name == "tiny"
    assert [path.name for path in here.models_root.iterdir()] == ["tiny"]


def test_progress_is_told_of_every_file_until_it_is_whole(bundle: Path, here: Pulling) -> None:
    told: dict[str, tuple[int, int | None]] = {}

    def progress(name: str, received: int, size: int | None) -> None:
        assert received > told.get(name, (0, None))[0]
        told[name] = (received, size)

    pulled = pull(parse_address(bundle.as_uri()), here, progress=progress)
    sizes = {path.name: path.stat().st_size for path in pulled.path.iterdir()}
    assert told == {name: (size, size) for name, size in sizes.items()}


def test_a_new_manifest_leaves_the_old_signature_behind(bundle: Path) -> None:
    """Otherwise it would count as a file of the bundle, and be the signature of another one."""
    write_signature(bundle, file_digest(bundle / MANIFEST_FILE))
    manifest = write_manifest(bundle, read_manifest(bundle))
    assert SIGNATURE_FILE not in manifest.files
    assert not (bundle / SIGNATURE_FILE).exists()


def test_a_second_pull_finds_it_there_and_receives_its_manifest_alone(web: WebServer, here: Pulling) -> None:
    pull(at(web), here)
    before = len(web.requests)
    assert pull(at(web), here).outcome == "there"
    assert [path for _, path, _ in web.requests[before:]] == ["/tiny/3/manifest.json", "/tiny/3/signature.json"]


def test_a_dry_run_writes_nothing(web: WebServer, here: Pulling) -> None:
    pulled = pull(at(web), replace(here, dry_run=True))
    assert (pulled.outcome, pulled.found.manifest.version) == ("dry run", "3")
    assert len(web.requests) == 2
    assert nothing_is_left(here.models_root)


def test_the_right_digest_is_taken_and_a_wrong_one_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    """The digest may stand in the address or beside it; two that differ are refused before anything is asked."""
    digest = file_digest(bundle / MANIFEST_FILE)
    with pytest.raises(HubError, match=f"its digest is sha256:{digest}"):
        pull(at(web, "@sha256:" + "0" * 64), here)
    with pytest.raises(HubError, match="is wanted"):
        pull(at(web), here, Expected(digest="0" * 64))
    with pytest.raises(HubError, match="names another digest"):
        pull(at(web, f"@sha256:{digest}"), here, Expected(digest="0" * 64))
    assert nothing_is_left(here.models_root)
    assert pull(at(web, f"@sha256:{digest}"), here, Expected(digest=digest)).outcome == "pulled"


def test_a_trusted_signature_is_kept_with_the_bundle(web: WebServer, bundle: Path, here: Pulling) -> None:
    write_signature(bundle, file_digest(bundle / MANIFEST_FILE))
    pulled = pull(at(web), replace(here, trusted=[KEY.public_key()]))
    assert pulled.found.signature.state == "trusted"
    assert (pulled.path / SIGNATURE_FILE).is_file()


@pytest.mark.parametrize(
    ("signed", "says"),
    [("not", "not signed"), ("by a stranger", "signed with the key"), ("another bundle", "of another bundle")],
)
def test_what_no_trusted_key_signed_is_not_pulled(
    signed: str, says: str, web: WebServer, bundle: Path, here: Pulling
) -> None:
    """A signature of another bundle is refused even where no key is trusted."""
    digest = file_digest(bundle / MANIFEST_FILE)
    if signed == "by a stranger":
        write_signature(bundle, digest, Ed25519PrivateKey.generate())
    if signed == "another bundle":
        write_signature(bundle, "0" * 64)
        with pytest.raises(HubError, match=says):
            pull(at(web), here)
    with pytest.raises(HubError, match=says):
        pull(at(web), replace(here, trusted=[KEY.public_key()]))
    assert nothing_is_left(here.models_root)


def test_the_signature_is_checked_before_the_manifest_is_read(web: WebServer, bundle: Path, here: Pulling) -> None:
    """A manifest that would be refused for what is in it is refused for its signature."""
    (bundle / MANIFEST_FILE).write_text("{", encoding="utf-8")
    write_signature(bundle, file_digest(bundle / MANIFEST_FILE), Ed25519PrivateKey.generate())
    with pytest.raises(HubError, match="signed with the key"):
        pull(at(web), replace(here, trusted=[KEY.public_key()]))


def test_a_name_that_another_bundle_has_is_not_taken_from_it(bundle: Path, here: Pulling) -> None:
    """The message has both digests, and the bundle that is there stays as it is."""
    old = pull(parse_address(bundle.as_uri()), here).found.digest
    new = reseal(bundle, description="another")
    with pytest.raises(HubError, match=rf"(?s)taken by another bundle .*{old}.*{new}"):
        pull(parse_address(bundle.as_uri()), here)
    assert load_bundle(here.models_root / "tiny" / "3").digest == old
    assert not (here.models_root / STAGING_FOLDER).exists()


def test_a_damaged_copy_is_told_and_not_called_there(bundle: Path, here: Pulling) -> None:
    pulled = pull(parse_address(bundle.as_uri()), here)
    (pulled.path / "classifier.onnx").write_bytes(b"")
    with pytest.raises(HubError, match="is there, but damaged"):
        pull(parse_address(bundle.as_uri()), here)
    assert local_bundle(here.models_root, pulled.found.digest) is None


def test_a_version_that_was_set_aside_is_not_pulled_beside_it(bundle: Path, here: Pulling) -> None:
    """A rollback would not know which of the two to bring back."""
    pulled = pull(parse_address(bundle.as_uri()), here)
    aside = pulled.path.parent / SET_ASIDE_FOLDER
    aside.mkdir()
    pulled.path.rename(aside / "3")
    with pytest.raises(HubError, match="unroll models rollback tiny 3"):
        pull(parse_address(bundle.as_uri()), here)


def test_pulls_of_one_bundle_at_once_publish_it_once(bundle: Path, here: Pulling) -> None:
    """One of them publishes it, the others find it there, and none leaves a folder."""
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        pulled = pull(parse_address(bundle.as_uri()), here, tell=lambda _: barrier.wait())
        outcomes.append(pulled.outcome)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert "pulled" in outcomes
    assert set(outcomes) <= {"pulled", "there"}
    assert [path.name for path in find_bundles(here.models_root)] == ["3"]
    assert [path.name for path in here.models_root.iterdir()] == ["tiny"]


def test_what_a_killed_pull_left_is_deleted_by_the_next(bundle: Path, here: Pulling) -> None:
    """Only old folders without a lock are: others may belong to a pull that runs."""
    abandoned = here.models_root / STAGING_FOLDER / "pull-abandoned"
    recent = here.models_root / STAGING_FOLDER / "pull-recent"
    for folder in (abandoned, recent):
        folder.mkdir(parents=True)
        (folder / "classifier.onnx").write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    pull(parse_address(bundle.as_uri()), here)
    assert not abandoned.exists()
    assert recent.exists()


def test_what_is_not_there_is_said(web: WebServer, tmp_path: Path, here: Pulling) -> None:
    with pytest.raises(NotThere, match=r"manifest\.json: there is no such file \(404\)"):
        pull(parse_address(f"http://{web.host}/absent/1"), here)
    with pytest.raises(NotThere, match="no such file"):
        pull(parse_address((tmp_path / "absent").as_uri()), here)


def test_plain_http_from_elsewhere_needs_a_digest_or_a_key(here: Pulling) -> None:
    """Nothing is asked of the host before."""
    with pytest.raises(HubError, match="use https"):
        pull(parse_address("http://models.invalid/tiny/3"), here)


def test_what_a_catalogue_says_must_be_so(web: WebServer, here: Pulling) -> None:
    with pytest.raises(HubError, match="the catalogue says 'MIT'"):
        pull(at(web), here, Expected(licence="MIT"))
    with pytest.raises(HubError, match="its name is 'tiny'"):
        pull(at(web), here, Expected(name="other"))
    assert nothing_is_left(here.models_root)
