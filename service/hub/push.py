"""Push a bundle to an address, signed if there is a key."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.bundle.load import MANIFEST_FILE, MAX_MANIFEST_BYTES, load_bundle
from service.bundle.manifest import Manifest
from service.bundle.write import SIGNATURE_FILE
from service.errors import HubError, NotThere
from service.hub.address import Address
from service.hub.pull import require_plain_files
from service.hub.signature import MAX_SIGNATURE_BYTES, Signature, parse_signature, sign
from service.hub.store import Store, Transport
from service.hub.stores.opening import open_store


@dataclass(frozen=True)
class Pushing:
    """How bundles are pushed.

    Attributes:
        key: signs the bundle; without one a signature that it has goes with it.
        replace: write over another bundle that is at the address.
        dry_run: look whether it could be pushed, and write nothing.
    """

    key: Ed25519PrivateKey | None = None
    replace: bool = False
    dry_run: bool = False
    transport: Transport = field(default_factory=Transport)


@dataclass(frozen=True)
class Pushed:
    """What came of a push. `signed_by` is the name of the key; "" if it is not signed."""

    manifest: Manifest
    digest: str
    signed_by: str
    outcome: Literal["pushed", "there", "dry run"]


def push(bundle: Path, address: Address, how: Pushing) -> Pushed:
    """Check a bundle and write it to an address.

    Raises:
        BundleError: it is damaged.
        Unreachable: it may succeed later.
        HubError: another bundle is there, or it cannot be written.
    """
    if address.digest:
        raise HubError(f"{address}: what is pushed gives the digest: leave it out of the address")
    loaded = load_bundle(bundle)
    manifest, digest = loaded.manifest, loaded.digest
    if not manifest.digest:
        raise HubError(
            f"{bundle}: its manifest has no digest: run `unroll models seal {manifest.name}@{manifest.version}`"
        )
    require_plain_files(manifest, str(bundle))
    signature = _signature_of(bundle, digest, how.key)
    signed_by = signature.key if signature else ""
    with open_store(address, how.transport) as store:
        there = _digest_there(store)
        if there not in ("", digest) and not how.replace:
            raise HubError(f"{address}: another bundle is there (sha256:{there}): choose another address, or --replace")
        if there == digest and how.key is None:
            return Pushed(manifest, digest, signed_by, "there")
        if how.dry_run:
            return Pushed(manifest, digest, signed_by, "dry run")
        _write(store, bundle, sorted(manifest.files), signature)
        if (arrived := _digest_there(store)) != digest:
            raise HubError(f"{address}: what was written is not what is there now (sha256:{arrived or 'nothing'})")
    return Pushed(manifest, digest, signed_by, "pushed")


def _signature_of(bundle: Path, digest: str, key: Ed25519PrivateKey | None) -> Signature | None:
    """A new signature, or that which the bundle has if it is of this content."""
    if key is not None:
        return sign(digest, key)
    file = bundle / SIGNATURE_FILE
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        signature = parse_signature(opened.read(MAX_SIGNATURE_BYTES), str(file))
    if signature.digest != f"sha256:{digest}":
        raise HubError(f"{file}: is the signature of another bundle: delete it, or sign again with --key")
    return signature


def _digest_there(store: Store) -> str:
    """The digest of the bundle at the address; "" if there is none. Raises Unreachable, HubError."""
    found, size = hashlib.sha256(), 0
    try:
        with store.read(MANIFEST_FILE) as remote:
            for piece in remote.pieces:
                found.update(piece)
                size += len(piece)
                if size > MAX_MANIFEST_BYTES:
                    break
    except NotThere:
        return ""
    return found.hexdigest()


def _write(store: Store, bundle: Path, names: Sequence[str], signature: Signature | None) -> None:
    """Write the manifest last: who reads meanwhile finds no bundle, or a whole one."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: bundle / name for name in names}
        if signature is not None:
            files[SIGNATURE_FILE] = Path(folder, SIGNATURE_FILE)
            files[SIGNATURE_FILE].write_text(signature.model_dump_json(indent=2) + "\n", encoding="utf-8")
        store.write(files | {MANIFEST_FILE: bundle / MANIFEST_FILE})
