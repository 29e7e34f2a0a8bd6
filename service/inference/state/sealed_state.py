"""State that clients carry: sealed into a text that only replicas with the same secret can make, read or change.

A token is base64url without padding of

    header        version (1 byte), key id (8 bytes), salt (16 bytes), nonce (12 bytes)
    sealed        AES-256-GCM of claims and payload, the header authenticated with them

Each token has its own key, HMAC-SHA256(root key, salt), so the limit of 2**32 random nonces under one key (NIST SP
800-38D, section 8.3) is none for the root key. Root key and key id come out of the secret by HKDF-SHA256 (RFC 5869).
The claims (good until when, for whom, for which bundle) are sealed too: a token tells its carrier nothing, and the
reason for which one is refused rests only on what was authenticated.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.errors import StateRefused

MIN_SECRET_CHARACTERS = 16

_VERSION = 1
_KEY_BYTES, _KEY_ID_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 8, 16, 12, 16
_HEADER = struct.Struct(f"<B{_KEY_ID_BYTES}s{_SALT_BYTES}s{_NONCE_BYTES}s")
#: Expiry in milliseconds since 1970; fingerprints of caller and bundle; bytes of the model's name and version.
_CLAIMS = struct.Struct("<Q32s32sHH")
_DERIVATION = b"unroll state token 1"


@dataclass(frozen=True)
class StateOwner:
    """Whom a state is for: one bundle, and one caller (such as an API key; "" if callers are not told apart)."""

    model: str
    version: str
    digest: str
    caller: str = ""

    def fingerprint(self, item: str) -> str:
        """64 hexadecimal digits that stand for `item` of this owner, and for that of no other."""
        return _fingerprint(self.model, self.version, self.digest, self.caller, item).hex()


@dataclass(frozen=True)
class _Key:
    """A root key and the name by which tokens refer to it."""

    root: bytes
    key_id: bytes

    @classmethod
    def derived(cls, secret: str) -> _Key:
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"a key for states has at least {MIN_SECRET_CHARACTERS} characters, not {len(secret)}")
        derivation = HKDF(algorithm=SHA256(), length=_KEY_BYTES + _KEY_ID_BYTES, salt=None, info=_DERIVATION)
        derived = derivation.derive(secret.encode("utf-8"))
        return cls(derived[:_KEY_BYTES], derived[_KEY_BYTES:])

    def cipher(self, salt: bytes) -> AESGCM:
        """The cipher of the one token with this salt."""
        return AESGCM(hmac.digest(self.root, salt, "sha256"))


class StateSealer:
    """Seals bytes into tokens and opens them again.

    Attributes:
        has_made_up_key: no key was given, so tokens are good on this replica only and end with its process.
        num_sealed, num_opened, num_refused: tokens made, opened, and refused to be opened.
    """

    def __init__(
        self, keys: Sequence[str], ttl_s: float, max_token_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Take the keys, texts of at least 16 characters that are equal on all replicas and best random.

        The first one seals and all of them open. To change it, put the new one second everywhere, then first
        everywhere, and take the old one away when its last tokens have expired. `ttl_s` is how long a token is good,
        `max_token_bytes` how long it may be as it stands in a request, and `clock` tells seconds since 1970.

        Raises:
            ValueError: a key is too short.
        """
        self.has_made_up_key = not keys
        self.max_token_bytes = max_token_bytes
        self.num_sealed = self.num_opened = self.num_refused = 0
        self._ttl_s = ttl_s
        self._clock = clock
        made = [_Key.derived(secret) for secret in keys or [secrets.token_urlsafe(_KEY_BYTES)]]
        self._sealing_key = made[0]
        self._key_by_id = {key.key_id: key for key in made}

    def seal(self, payload: bytes, owner: StateOwner) -> str:
        """A token that gives `payload` back to the same owner until it expires.

        Raises:
            StateRefused: with the reason "too_large", if this service would not take the token back.
        """
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        header = _HEADER.pack(_VERSION, self._sealing_key.key_id, salt, nonce)
        sealed = self._sealing_key.cipher(salt).encrypt(nonce, self._claims(owner) + payload, header)
        token = _to_text(header + sealed)
        self._require_short(token)
        self.num_sealed += 1
        return token

    def open(self, token: str, owner: StateOwner) -> bytes:
        """The payload of a token that was sealed for this owner.

        Raises:
            StateRefused: with the first reason that applies of "too_large", "malformed", "tampered",
                "foreign_caller", "expired" and "foreign_model".
        """
        try:
            payload = self._open(token, owner)
        except StateRefused:
            self.num_refused += 1
            raise
        self.num_opened += 1
        return payload

    def _open(self, token: str, owner: StateOwner) -> bytes:
        self._require_short(token)
        data = _from_text(token)
        if len(data) < _HEADER.size + _TAG_BYTES or data[0] != _VERSION:
            raise _malformed()
        return self._unpack(self._decrypt(data), owner)

    def _decrypt(self, data: bytes) -> bytes:
        header, sealed = data[: _HEADER.size], data[_HEADER.size :]
        _, key_id, salt, nonce = _HEADER.unpack(header)
        key = self._key_by_id.get(key_id)
        try:
            if key is not None:
                return key.cipher(salt).decrypt(nonce, sealed, header)
        except InvalidTag:
            pass
        raise StateRefused("the state was changed on its way, or made with a key that this service lacks", "tampered")

    def _unpack(self, opened: bytes, owner: StateOwner) -> bytes:
        """Check the claims, those that tell least to a stranger first, and take the payload out."""
        expires_ms, caller, bundle, num_name_bytes, num_version_bytes = _CLAIMS.unpack_from(opened)
        if caller != _fingerprint(owner.caller):
            raise StateRefused("the state was handed to another caller", "foreign_caller")
        if self._clock() * 1000 >= expires_ms:
            raise StateRefused("the state has expired", "expired")
        end_of_name = _CLAIMS.size + num_name_bytes
        end_of_version = end_of_name + num_version_bytes
        if bundle != _bundle_fingerprint(owner):
            name = opened[_CLAIMS.size : end_of_name].decode("utf-8")
            raise _foreign_model(name, opened[end_of_name:end_of_version].decode("utf-8"), owner)
        return opened[end_of_version:]

    def _claims(self, owner: StateOwner) -> bytes:
        name, version = owner.model.encode("utf-8"), owner.version.encode("utf-8")
        expires_ms = int((self._clock() + self._ttl_s) * 1000)
        caller, bundle = _fingerprint(owner.caller), _bundle_fingerprint(owner)
        return _CLAIMS.pack(expires_ms, caller, bundle, len(name), len(version)) + name + version

    def _require_short(self, token: str) -> None:
        if len(token) > self.max_token_bytes:
            message = f"the state has {len(token)} bytes, this service takes at most {self.max_token_bytes}"
            raise StateRefused(message, "too_large")


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_text(token: str) -> bytes:
    """The bytes of a token in the one way to write them: no blanks, no padding, no stray bits at the end."""
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError as error:
        raise _malformed() from error
    if _to_text(data) != token:
        raise _malformed()
    return data


def _bundle_fingerprint(owner: StateOwner) -> bytes:
    return _fingerprint(owner.model, owner.version, owner.digest)


def _fingerprint(*parts: str) -> bytes:
    """SHA-256 of texts, each behind its length, so that no two lists of texts run together. Any text will do."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in encoded)).digest()


def _malformed() -> StateRefused:
    return StateRefused("this is not a state that this service handed out", "malformed")


def _foreign_model(name: str, version: str, owner: StateOwner) -> StateRefused:
    if (name, version) == (owner.model, owner.version):
        message = f"the state is of another bundle that was also called {name} version {version}"
    else:
        message = f"the state is of {name} version {version}, this is {owner.model} version {owner.version}"
    return StateRefused(message, "foreign_model")
