"""Labels of sessions: the name and the model by which an owner finds a session in the list.

Stores know sessions by fingerprints only. What the list shows is encrypted under the secrets that seal states, so that
whoever reads the store learns neither names nor models, as it learns no text.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.inference.state.sealed_state import StateOwner
from service.inference.state.sessions import SessionLabel

_KEY_BYTES = 32
#: Separates these keys from those of state tokens and session names, which are made of the same secrets.
_DERIVATION = b"unroll session label 1"


class LabelledSession(NamedTuple):
    """What a label says."""

    name: str
    model: str
    version: str


class SessionLabels:
    """Writes labels with the first key, and reads those of any."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the secrets that seal states; without any, labels are read by this process only."""
        self._cipher = MultiFernet([_derived(key) for key in keys or [secrets.token_urlsafe(_KEY_BYTES)]])

    def write(self, name: str, owner: StateOwner) -> SessionLabel:
        """The label of a session."""
        text = json.dumps([name, owner.model, owner.version]).encode("ascii")
        return SessionLabel(owner.caller_fingerprint, self._cipher.encrypt(text))

    def read(self, text: bytes) -> LabelledSession | None:
        """What a label says; None if it was written with a key that is gone, or changed."""
        try:
            name, model, version = json.loads(self._cipher.decrypt(text))
        except (InvalidToken, ValueError):
            return None
        return LabelledSession(str(name), str(model), str(version))


def _derived(secret: str) -> Fernet:
    derivation = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_DERIVATION)
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode("utf-8"))))
