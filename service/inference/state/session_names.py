"""Session names that the service gives out to callers it cannot tell apart.

Without an `Authorization` header two strangers may choose the same name. What the service gives out instead is the
chosen name, a dot, and 43 characters that nobody can guess: 128 random bits and their authentication code, so that only
names made here are taken for such.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_RANDOM_BYTES = 16
_CODE_BYTES = 16
_SECRET_CHARACTERS = 43
_MAX_NAME_CHARACTERS = 128
#: Separates these keys from those of state tokens, which are made of the same secrets.
_DERIVATION = b"unroll session name 1"


class SessionNames:
    """Issues names under the first key, and recognises those issued under any."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the secrets that seal states; without any, names are known to this process only."""
        self._keys = [_derived(key.encode("utf-8")) for key in keys] or [secrets.token_bytes(32)]

    def issue(self, chosen: str) -> str:
        """A new unguessable name that begins with the chosen one."""
        name = chosen[: _MAX_NAME_CHARACTERS - _SECRET_CHARACTERS - 1]
        random = secrets.token_bytes(_RANDOM_BYTES)
        secret = base64.urlsafe_b64encode(random + _code(self._keys[0], name, random)).rstrip(b"=")
        return f"{name}.{secret.decode('ascii')}"

    def is_issued(self, name: str) -> bool:
        """Whether the name was issued by a service with one of these keys."""
        chosen, _, secret = name.rpartition(".")
        if len(secret) != _SECRET_CHARACTERS:
            return False
        try:
            data = base64.b64decode(secret + "=", altchars=b"-_", validate=True)
        except ValueError:
            return False
        random, code = data[:_RANDOM_BYTES], data[_RANDOM_BYTES:]
        return any(hmac.compare_digest(_code(key, chosen, random), code) for key in self._keys)


def _derived(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_DERIVATION).derive(secret)


def _code(key: bytes, name: str, random: bytes) -> bytes:
    return hmac.digest(key, random + name.encode("utf-8", "surrogatepass"), "sha256")[:_CODE_BYTES]
