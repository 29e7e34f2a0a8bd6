"""Pull a bundle from an address: its digest and signature are checked before anything in it is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.bundle.load import MANIFEST_FILE, MAX_MANIFEST_BYTES, file_digest, load_bundle, read_manifest
from service.bundle.manifest import Manifest
from service.bundle.models_folder import SET_ASIDE_FOLDER, find_bundles
from service.bundle.write import SIGNATURE_FILE, publish_new
from service.errors import BundleError, HubError, NotThere, Unreachable
from service.hub.address import Address
from service.hub.receive import Progress, Receiver, no_progress
from service.hub.signature import MAX_SIGNATURE_BYTES, CheckedSignature, Signature, check_signature, parse_signature
from service.hub.staging import pull_folder
from service.hub.store import Transport
from service.hub.stores.opening import open_store

#: Far above any bundle.
MAX_FILES: Final = 100
DEFAULT_MAX_BYTES: Final = 8 * 1024**3
_IS_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}").fullmatch


@dataclass(frozen=True)
class Expected:
    """What is known of a bundle before it is pulled; "" of what is not.

    Attributes:
        digest: sha256 of `manifest.json`, hexadecimal.
    """

    digest: str = ""
    name: str = ""
    version: str = ""
    task: str = ""
    language: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Pulling:
    """How bundles are pulled.

    Attributes:
        models_root: the folder into which they go.
        trusted: public keys; if there are any, one of them must have signed.
        max_bytes: the most that the files of a bundle may have together.
        dry_run: receive and check the manifest and its signature alone.
    """

    models_root: Path
    trusted: Sequence[Ed25519PublicKey] = ()
    max_bytes: int = DEFAULT_MAX_BYTES
    dry_run: bool = False
    transport: Transport = field(default_factory=Transport)


@dataclass(frozen=True)
class Found:
    """A bundle at an address, whose manifest and signature were checked. `digest` is that of the manifest."""

    address: Address
    manifest: Manifest
    digest: str
    signature: CheckedSignature


@dataclass(frozen=True)
class Pulled:
    """What came of a pull. `path` is the folder of the bundle, also where it would be after a dry run."""

    found: Found
    path: Path
    outcome: Literal["pulled", "there", "dry run"]


def pull(
    address: Address,
    how: Pulling,
    expected: Expected | None = None,
    tell: Callable[[Found], None] | None = None,
    progress: Progress = no_progress,
) -> Pulled:
    """Pull a bundle into the models folder; `tell` is told of it before its files are received.

    Raises:
        NotThere: there is no bundle at the address.
        Unreachable: it may succeed later.
        HubError: something does not fit the digest, the signature, the manifest or the bounds, or the name and version
            are those of another bundle. Nothing is left in the models folder.
    """
    expected = expected or Expected()
    wanted = _wanted_digest(address, expected)
    _require_protection(address, how, wanted)
    with pull_folder(how.models_root) as staged, open_store(address, how.transport) as store:
        receiver = Receiver(store, address, how.transport, how.max_bytes, progress)
        found = _find(receiver, staged, address, how, wanted)
        _require_expected(found, expected)
        target = how.models_root / found.manifest.name / found.manifest.version
        if tell is not None:
            tell(found)
        if _is_there(target, found):
            return Pulled(found, target, "there")
        if how.dry_run:
            return Pulled(found, target, "dry run")
        _receive_files(receiver, staged, found)
        return _publish(staged, how.models_root, found, target)


def local_bundle(models_root: Path, digest: str) -> Path | None:
    """The sound bundle of a models folder whose manifest has this digest, if there is one."""
    try:
        paths = [path for path in find_bundles(models_root) if _digest_of(path) == digest]
        return load_bundle(paths[0]).path if paths else None
    except BundleError:
        return None


def is_signed(bundle: Path, digest: str, trusted: Sequence[Ed25519PublicKey]) -> bool:
    """Whether one of the keys signed a bundle of a models folder, by the signature that came with it."""
    try:
        signature = parse_signature((bundle / SIGNATURE_FILE).read_bytes(), str(bundle))
        return check_signature(signature, digest, trusted, str(bundle)).state == "trusted"
    except (HubError, OSError):
        return False


def _digest_of(bundle: Path) -> str:
    try:
        return file_digest(bundle / MANIFEST_FILE)
    except OSError:
        return ""


def _wanted_digest(address: Address, expected: Expected) -> str:
    """The digest that the manifest must have; "" if none is known. Raises HubError for two that differ."""
    named = address.digest if address.names_the_manifest else ""
    if named and expected.digest and named != expected.digest:
        raise HubError(f"{address}: the address names another digest than sha256:{expected.digest}, which is wanted")
    return named or expected.digest


def _require_protection(address: Address, how: Pulling, wanted: str) -> None:
    """Raises HubError where whoever is on the way could give another bundle."""
    if address.scheme == "http" and not (wanted or how.trusted or address.is_loopback):
        raise HubError(
            f"{address}: by http anybody on the way can give another bundle: use https, or name the digest, or a "
            "trusted key (--key, UNROLL_TRUSTED_KEYS)"
        )


def _find(receiver: Receiver, staged: Path, address: Address, how: Pulling, wanted: str) -> Found:
    """Receive manifest and signature and check them, in this order: digest, signature, content."""
    file = staged / MANIFEST_FILE
    digest = receiver.receive(MANIFEST_FILE, file, MAX_MANIFEST_BYTES).digest
    if wanted and digest != wanted:
        raise HubError(f"{address}: its digest is sha256:{digest}, and sha256:{wanted} is wanted")
    signature = _receive_signature(receiver, staged, address, is_needed=bool(how.trusted))
    checked = check_signature(signature, digest, how.trusted, str(address))
    try:
        manifest = read_manifest(staged)
    except BundleError as error:
        raise HubError(f"{address}: {MANIFEST_FILE}: {_without_advice(error)}") from error
    if not manifest.digest:
        raise HubError(f"{address}: {MANIFEST_FILE} has no digest of its own: seal it with `unroll models seal`")
    require_plain_files(manifest, str(address))
    return Found(address, manifest, digest, checked)


def _receive_signature(receiver: Receiver, staged: Path, address: Address, is_needed: bool) -> Signature | None:
    """The signature at the address; None if there is none. Some stores answer 403 then, to hide what is not there."""
    file = staged / SIGNATURE_FILE
    try:
        receiver.receive(SIGNATURE_FILE, file, MAX_SIGNATURE_BYTES)
    except NotThere:
        return None
    except Unreachable:
        raise
    except HubError:
        if is_needed:
            raise
        return None
    return parse_signature(file.read_bytes(), f"{address}: {SIGNATURE_FILE}")


def require_plain_files(manifest: Manifest, source: str) -> None:
    """Raises HubError unless the manifest names a bounded number of files, all of them in its own folder."""
    if len(manifest.files) > MAX_FILES:
        raise HubError(f"{source}: {len(manifest.files):,} files; a bundle may have {MAX_FILES}")
    for name in manifest.files:
        if not _IS_FILE_NAME(name) or name in (MANIFEST_FILE, SIGNATURE_FILE):
            allowed = "a-z, A-Z, 0-9 and . _ -, without a folder"
            raise HubError(f"{source}: {name[:200]!r} is no name of a file in a bundle: it is {allowed}")


def _require_expected(found: Found, expected: Expected) -> None:
    """Raises HubError where a catalogue says something else than the manifest."""
    for what in ("name", "version", "task", "language", "licence"):
        wanted, is_there = getattr(expected, what), getattr(found.manifest, what)
        if wanted and wanted != is_there:
            raise HubError(f"{found.address}: its {what} is {is_there!r}; the catalogue says {wanted!r}")


def _is_there(target: Path, found: Found) -> bool:
    """Whether the bundle is in the models folder already. Raises HubError if another one has its place."""
    if (aside := target.parent / SET_ASIDE_FOLDER / target.name).exists():
        name = found.manifest.name
        raise HubError(
            f"{aside}: this version was set aside by a rollback: unroll models rollback {name} {target.name}"
        )
    if not target.is_dir():
        return False
    digest = _digest_of(target)
    if digest != found.digest:
        raise HubError(
            f"{target}: name and version are taken by another bundle (sha256:{digest or 'unknown'}, and not "
            f"sha256:{found.digest}). Remove it, rename it, or pull into another folder with --models"
        )
    try:
        load_bundle(target)
    except BundleError as error:
        raise HubError(
            f"{target}: is there, but damaged: {_without_advice(error)}. Remove it, and pull again"
        ) from error
    return True


def _receive_files(receiver: Receiver, staged: Path, found: Found) -> None:
    for name, digest in found.manifest.files.items():
        received = receiver.receive(name, staged / name)
        if received.digest != digest:
            raise HubError(
                f"{found.address}: {name}: its digest is sha256:{received.digest}; the manifest says sha256:{digest}"
            )


def _publish(staged: Path, models_root: Path, found: Found, target: Path) -> Pulled:
    try:
        load_bundle(staged, link_roots=[staged])
        return Pulled(found, publish_new(staged, models_root), "pulled")
    except FileExistsError:  # by another pull, just now
        if _is_there(target, found):
            return Pulled(found, target, "there")
        raise HubError(f"{target}: is in the way, and is no bundle") from None
    except BundleError as error:
        raise HubError(f"{found.address}: {error.path.name}: {_without_advice(error)}") from error
    except OSError as error:
        raise HubError(f"{target}: cannot be written: {error.strerror or error}") from error


def _without_advice(error: BundleError) -> str:
    """What is wrong with a bundle, without how to mend it, which is for those that were published here."""
    return error.message.partition(" Restore it;")[0].rstrip(".")
