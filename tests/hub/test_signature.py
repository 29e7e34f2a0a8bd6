"""Signatures: a trusted key opens its own bundles alone, and everything else is refused with the reason."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.errors import HubError
from service.hub.signature import (
    check_signature,
    make_keys,
    parse_signature,
    public_path_of,
    read_private_key,
    read_public_key,
    sign,
)

DIGEST, OTHER = "4f" * 32, "5e" * 32
KEY = Ed25519PrivateKey.generate()


def test_keys_that_were_written_sign_and_check(tmp_path: Path) -> None:
    """The private key is for its owner alone, and no key is written over another."""
    path = tmp_path / "release"
    public = make_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signature = sign(DIGEST, read_private_key(path))
    read_back = parse_signature(signature.model_dump_json().encode(), "here")
    checked = check_signature(read_back, DIGEST, [read_public_key(public_path_of(path))], "here")
    assert (checked.state, checked.key) == ("trusted", signature.key)
    assert check_signature(signature, DIGEST, [public], "here") == checked
    with pytest.raises(HubError, match="is there already"):
        make_keys(path)


def test_without_a_trusted_key_nothing_is_said_to_be_checked() -> None:
    assert check_signature(sign(DIGEST, KEY), DIGEST, [], "here").state == "unchecked"
    assert check_signature(None, DIGEST, [], "here").state == "absent"


def test_what_no_trusted_key_signed_is_refused() -> None:
    """No signature, one of another key, of another bundle, and one whose bytes were changed."""
    trusted = [KEY.public_key()]
    stranger = sign(DIGEST, Ed25519PrivateKey.generate())
    forged = stranger.model_copy(update={"key": sign(DIGEST, KEY).key})
    moved = sign(OTHER, KEY).model_copy(update={"digest": f"sha256:{DIGEST}"})
    for signature, says in [
        (None, "not signed"),
        (stranger, "signed with the key"),
        (sign(OTHER, KEY), "another bundle"),
        (forged, "forged"),
        (moved, "forged"),
        (sign(DIGEST, KEY).model_copy(update={"signature": "%%%"}), "forged"),
    ]:
        with pytest.raises(HubError, match=says):
            check_signature(signature, DIGEST, trusted, "here")


def test_files_that_hold_no_key_are_refused(tmp_path: Path) -> None:
    """The public key in place of the private one, and the other way round, are named as such mistakes."""
    make_keys(tmp_path / "release")
    with pytest.raises(HubError, match="no private key"):
        read_private_key(tmp_path / "release.pub")
    with pytest.raises(HubError, match="no public key"):
        read_public_key(tmp_path / "release")
    with pytest.raises(HubError, match="No such file"):
        read_public_key(tmp_path / "absent")
    with pytest.raises(HubError, match="no signature"):
        parse_signature(b'{"digest": "12"}', "here")
