"""Signatures of bundles: ed25519 (RFC 8032) over the digest of `manifest.json`, which lists those of all other files.

What is signed is a line that says what it is, so that a signature of something else is none of a bundle.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import HubError

#: Far above any signature, and any file of a key.
MAX_SIGNATURE_BYTES = 8 * 1024
_MAX_KEY_BYTES = 64 * 1024


class Signature(BaseModel):
    """The file `signature.json` beside a manifest.

    Attributes:
        digest: sha256 of the manifest that was signed.
        key: which key it was, see `key_id`.
        signature: in base64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["unroll-signature-1"] = "unroll-signature-1"
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    key: str = Field(pattern=r"^ed25519:[0-9a-f]{32}$")
    signature: str = Field(max_length=128)


@dataclass(frozen=True)
class CheckedSignature:
    """What is known of who signed a bundle.

    Attributes:
        state: `trusted`, by a key that was given; `unchecked`, as no key was given; or `absent`.
        key: which key it is; "" without a signature.
    """

    state: Literal["trusted", "unchecked", "absent"]
    key: str = ""

    def __str__(self) -> str:
        if self.state == "trusted":
            return f"signed with the trusted key {self.key}"
        if self.state == "unchecked":
            return f"signed with the key {self.key}, NOT CHECKED: no trusted key was given"
        return "not signed"


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: `ed25519:` and the beginning of the sha256 of its 32 bytes."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"ed25519:{hashlib.sha256(raw).hexdigest()[:32]}"


def make_keys(path: Path) -> Ed25519PublicKey:
    """Write a new private key, which only its owner may read, to `path`, and its public key to `path` with `.pub`.

    Raises HubError where one of the files is there already, OSError where they cannot be written.
    """
    public_path = public_path_of(path)
    for file in (path, public_path):
        if os.path.lexists(file):
            raise HubError(f"{file} is there already: choose another name")
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file_of_secret:
        file_of_secret.write(secret)
    public = private.public_key()
    public_path.write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def public_path_of(path: Path) -> Path:
    """The file of the public key beside that of a private one."""
    return path.with_name(path.name + ".pub")


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises HubError."""
    try:
        key = serialization.load_pem_private_key(_content(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise HubError(
            f"{path}: no private key in PEM without a password: make one with `unroll signing-key`"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise HubError(f"{path}: no key of ed25519: make one with `unroll signing-key`")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The key in a PEM file. Raises HubError."""
    try:
        key = serialization.load_pem_public_key(_content(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise HubError(f"{path}: no public key in PEM, as `unroll signing-key` writes it") from error
    if not isinstance(key, Ed25519PublicKey):
        raise HubError(f"{path}: no key of ed25519")
    return key


def sign(digest: str, key: Ed25519PrivateKey) -> Signature:
    """The signature of a bundle, by the sha256 of its manifest, hexadecimal."""
    signed = base64.b64encode(key.sign(_message(digest))).decode()
    return Signature(digest=f"sha256:{digest}", key=key_id(key.public_key()), signature=signed)


def parse_signature(content: bytes, source: str) -> Signature:
    """The signature in a file. Raises HubError."""
    try:
        return Signature.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise HubError(f"{source}: no signature: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def check_signature(
    signature: Signature | None, digest: str, trusted: Sequence[Ed25519PublicKey], source: str
) -> CheckedSignature:
    """Check who signed the manifest with this digest, hexadecimal. With trusted keys one of them must have.

    Raises HubError: it is not signed, by another key, or the signature is of another bundle or forged.
    """
    if signature is None:
        if trusted:
            raise HubError(f"{source}: not signed, and trusted keys were given: one of them must have signed it")
        return CheckedSignature("absent")
    if signature.digest != f"sha256:{digest}":
        raise HubError(f"{source}: the signature is that of another bundle ({signature.digest})")
    if not trusted:
        return CheckedSignature("unchecked", signature.key)
    keys = {key_id(key): key for key in trusted}
    if signature.key not in keys:
        raise HubError(f"{source}: signed with the key {signature.key}; trusted are {', '.join(sorted(keys))}")
    try:
        keys[signature.key].verify(base64.b64decode(signature.signature, validate=True), _message(digest))
    except (InvalidSignature, binascii.Error) as error:
        raise HubError(f"{source}: the signature is forged: the key {signature.key} did not make it") from error
    return CheckedSignature("trusted", signature.key)


def _message(digest: str) -> bytes:
    return f"unroll bundle sha256:{digest}\n".encode()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise HubError(f"{path}: {error.strerror or error}") from error
