"""The digest that a manifest carries of its own bytes, so that no byte of it changes unnoticed.

The digest is the last field of the file. It is the sha256 of the file with that field empty, which covers white space
and the order of keys too: an editor that only reformats the file breaks it. It protects against accidents, not against
an attacker, who could compute it again.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from service.bundle.manifest import Manifest

_EMPTY: Final = b'"digest": ""\n}\n'
_SEAL: Final = re.compile(rb'"digest": "([0-9a-f]{64})"\n\}\n\Z')
#: The end of a file that has the seal.
_SEAL_BYTES: Final = len(_EMPTY) + 64


def seal(manifest: Manifest) -> Manifest:
    """The manifest with the digest of its content."""
    emptied = content_of(manifest.model_copy(update={"digest": ""}))
    assert emptied.endswith(_EMPTY), "the digest is the last field of a manifest"
    return manifest.model_copy(update={"digest": hashlib.sha256(emptied).hexdigest()})


def content_of(manifest: Manifest) -> bytes:
    """The content of `manifest.json`."""
    return (manifest.model_dump_json(indent=2) + "\n").encode()


def has_seal(content: bytes) -> bool:
    """Whether the file ends as that of a sealed manifest. A digest elsewhere is in a file that was edited."""
    return _SEAL.search(content[-_SEAL_BYTES:]) is not None


def is_unchanged(content: bytes) -> bool:
    """Whether a file has its seal, and every byte is the one that was sealed."""
    seal = _SEAL.search(content[-_SEAL_BYTES:])
    if seal is None:
        return False
    before = len(content) - _SEAL_BYTES + seal.start(1)
    emptied = content[:before] + content[before + 64 :]
    return hashlib.sha256(emptied).hexdigest().encode() == seal[1]
