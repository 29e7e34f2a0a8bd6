"""Keys for tests, with secrets that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.access.api_key import ApiKey, digest_of
from service.access.key_file import write_keys


def secret_of(name: str) -> str:
    """The secret of a key that `key` has made."""
    return f"unroll_{name}_{'x' * 32}"


def bearer(name: str) -> str:
    """The Authorization header of that key."""
    return f"Bearer {secret_of(name)}"


def key(name: str, **fields: Any) -> ApiKey:
    """A key whose secret is `secret_of(name)`."""
    return ApiKey(name=name, sha256=digest_of(secret_of(name).encode()).hex(), **fields)


def key_file(folder: Path, *keys: ApiKey) -> Path:
    """A file of these keys."""
    path = folder / "keys.json"
    write_keys(path, keys)
    return path
