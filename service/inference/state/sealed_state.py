"""State tokens: recurrent state that clients carry, encrypted and authenticated with Fernet.

A token is a Fernet token (AES-128-CBC and HMAC-SHA256, from `cryptography`) without its base64 padding. Inside are one
line of JSON claims (expiry, caller, bundle) and the state. The claims are encrypted too, so a token tells its carrier
nothing but when it was made, and every reason for a refusal beyond "tampered" rests on what was authenticated.

Two things are added to Fernet: it reports an expired and a changed token with the same error, so the expiry is a claim;
and it accepts several spellings of one token, so only the canonical one is let through.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.errors import StateRefused
from service.settings import MIN_STATE_KEY_CHARACTERS

_KEY_BYTES = 32
_FERNET_VERSION = b"\x80"
#: Separates these keys from all others made of the same secret. Raise the number when the claims change.
_DERIVATION = b"unroll state token 2"


@dataclass(frozen=True)
class StateOwner:
    """Whom a state is for: one bundle, and one caller (such as an API key; "" if callers are not told apart)."""

    model: str
    version: str
    digest: str
    caller: str = ""

    def fingerprint(self, item: str) -> str:
        """64 hexadecimal digits that identify `item` of this owner, and of no other."""
        return _fingerprint(self.model, self.version, self.digest, self.caller, item)

    @property
    def caller_fingerprint(self) -> str:
        """64 hexadecimal digits that identify the caller."""
        return caller_fingerprint(self.caller)


class StateSealer:
    """Encrypts states into tokens and decrypts them again.

    Attributes:
        has_made_up_key: no key was given, so tokens are valid on this replica only and until its process ends.
        num_sealed, num_opened, num_refused: tokens made, opened, and refused to be opened.
    """

    def __init__(
        self, keys: Sequence[str], ttl_s: float, max_token_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Take the secrets: at least 16 characters each, best random, the same on all replicas.

        The first one seals and all of them open. To rotate, put the new one second everywhere, then first everywhere,
        and remove the old one when its last tokens have expired. `ttl_s` is how long a token is valid,
        `max_token_bytes` its maximum length in a request, and `clock` gives seconds since 1970.

        Raises:
            ValueError: a key is too short.
        """
        self.has_made_up_key = not keys
        self.max_token_bytes = max_token_bytes
        self.num_sealed = self.num_opened = self.num_refused = 0
        self._ttl_s = ttl_s
        self._clock = clock
        self._cipher = MultiFernet([_cipher_of(secret) for secret in keys or [secrets.token_urlsafe(_KEY_BYTES)]])

    def seal(self, payload: bytes, owner: StateOwner) -> str:
        """A token that gives `payload` back to the same owner until it expires.

        Raises:
            StateRefused: with the reason "too_large", if this service would not accept the token.
        """
        now_s = self._clock()
        claims = _identity(owner) | {"expires_ms": int((now_s + self._ttl_s) * 1000)}
        data = json.dumps(claims, separators=(",", ":")).encode("ascii") + b"\n" + payload
        token = _unpadded(self._cipher.encrypt_at_time(data, int(now_s)))
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

    def bundle_of(self, token: str, caller: str) -> tuple[str, str] | None:
        """Model and version of a token that this caller may use; None for any other. It does not count as opened."""
        try:
            self._require_short(token)
            claims = json.loads(self._cipher.decrypt(_padded(token)).partition(b"\n")[0])
            return (claims["model"], claims["version"]) if claims["caller"] == _fingerprint(caller) else None
        except (InvalidToken, StateRefused, KeyError, TypeError, ValueError):
            return None

    def _open(self, token: str, owner: StateOwner) -> bytes:
        self._require_short(token)
        try:
            claims, _, payload = self._cipher.decrypt(_padded(token)).partition(b"\n")
        except InvalidToken as error:
            message = "the state was changed, or sealed with a key that this service does not have"
            raise StateRefused(message, "tampered") from error
        try:
            self._check(json.loads(claims), owner)
        except (KeyError, TypeError, ValueError) as error:  # sealed with our key, but by another version of the service
            raise _malformed() from error
        return payload

    def _check(self, claims: dict[str, Any], owner: StateOwner) -> None:
        """Refuse a token of another owner. The caller comes first, so that strangers learn neither age nor model."""
        expected = _identity(owner)
        if claims["caller"] != expected["caller"]:
            raise StateRefused("the state was issued to another caller", "foreign_caller")
        if self._clock() * 1000 >= claims["expires_ms"]:
            raise StateRefused("the state has expired", "expired")
        if any(claims[name] != expected[name] for name in ("model", "version", "digest")):
            raise _foreign_model(claims["model"], claims["version"], owner)

    def _require_short(self, token: str) -> None:
        if len(token) > self.max_token_bytes:
            message = f"the state has {len(token)} bytes, this service takes at most {self.max_token_bytes}"
            raise StateRefused(message, "too_large")


def caller_fingerprint(caller: str) -> str:
    """64 hexadecimal digits that identify a caller."""
    return _fingerprint(caller)


def _cipher_of(secret: str) -> Fernet:
    """The cipher of a secret text. Raises ValueError if it is too short."""
    if len(secret) < MIN_STATE_KEY_CHARACTERS:
        raise ValueError(f"a key for states has at least {MIN_STATE_KEY_CHARACTERS} characters, not {len(secret)}")
    derivation = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_DERIVATION)
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode("utf-8"))))


def _padded(token: str) -> str:
    """A token as Fernet takes it. Raises StateRefused for all but the one canonical spelling."""
    padded = token + "=" * (-len(token) % 4)
    try:
        data = base64.urlsafe_b64decode(padded)
    except ValueError as error:
        raise _malformed() from error
    if _unpadded(base64.urlsafe_b64encode(data)) != token or not data.startswith(_FERNET_VERSION):
        raise _malformed()
    return padded


def _unpadded(token: bytes) -> str:
    return token.rstrip(b"=").decode("ascii")


def _identity(owner: StateOwner) -> dict[str, Any]:
    """The claims that tell owners apart. The caller may be a credential, so only its fingerprint is kept."""
    return {
        "caller": owner.caller_fingerprint,
        "model": owner.model,
        "version": owner.version,
        "digest": owner.digest,
    }


def _fingerprint(*parts: str) -> str:
    """SHA-256 of texts, each preceded by its length, so that different lists never collide. Accepts any text."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in encoded)).hexdigest()


def _malformed() -> StateRefused:
    return StateRefused("this is not a state token of this service", "malformed")


def _foreign_model(name: str, version: str, owner: StateOwner) -> StateRefused:
    if (name, version) == (owner.model, owner.version):
        message = f"the state is of another bundle that was also called {name} version {version}"
    else:
        message = f"the state is of {name} version {version}, this is {owner.model} version {owner.version}"
    return StateRefused(message, "foreign_model")
