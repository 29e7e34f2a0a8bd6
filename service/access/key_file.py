"""The file of API keys: JSON with the records, read by the service and changed by `unroll keys`.

{"keys": [{"name": "search", "id": "5f0c...", "sha256": "9b71...", "scopes": ["predict"],
           "limits": {"requests_per_minute": 600}, "expires": "2027-01-31"}]}
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from service.access.api_key import MIN_SECRET_CHARACTERS, ApiKey, digest_of
from service.errors import UnrollError

#: More than a million keys: what is longer is some other file.
_MAX_FILE_BYTES = 256 * 1024 * 1024
_OWNER_ONLY = 0o600
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class KeyFileError(UnrollError):
    """The keys cannot be read or written; the message says where and why."""


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey]


def read_keys(path: Path) -> list[ApiKey]:
    """The keys in a file.

    Raises:
        KeyFileError: it cannot be read, or something in it is not allowed.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    return _parsed(text, str(path))


def keys_of_text(text: str, source: str) -> list[ApiKey]:
    """The keys in an environment variable: what a file has, or `NAME=SECRET` separated by commas.

    In place of a secret there may be `sha256:` and its digest. Such keys may predict and generate.

    Raises:
        KeyFileError: something in it is not allowed. Secrets are not repeated in the message.
    """
    if text.lstrip().startswith("{"):
        return _parsed(text.encode("utf-8", "surrogateescape"), source)
    keys = [_key_of_pair(pair.strip(), source) for pair in text.split(",") if pair.strip()]
    _require_distinct(keys, source)
    return keys


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file in one step, so that a reader sees the old keys or the new ones; only the owner may read it.

    Raises:
        KeyFileError: it cannot be written; the file before is unchanged.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing to the file
    records = [key.model_dump(exclude_defaults=True) for key in keys]
    text = json.dumps({"keys": records}, indent=2) + "\n"
    staged: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        staged = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _OWNER_ONLY)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)
    except OSError as error:
        if staged is not None:
            staged.unlink(missing_ok=True)
        raise KeyFileError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile: the second waits, and then sees what the first has done."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    target = Path(os.path.realpath(path))
    try:
        descriptor = os.open(target.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyFileError(f"{target.parent}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parsed(text: bytes, source: str) -> list[ApiKey]:
    try:
        keys = _Contents.model_validate_json(text).keys
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        what = str(problem["msg"]).removeprefix("Value error, ")
        raise KeyFileError(f"{source}: {where}: {what}" if where else f"{source}: {what}") from None
    _require_distinct(keys, source)
    return keys


def _key_of_pair(pair: str, source: str) -> ApiKey:
    name, separator, secret = pair.partition("=")
    if not separator:
        raise KeyFileError(f"{source}: write NAME=SECRET, separated by commas, or the JSON of a file of keys")
    hashed = _HASHED.fullmatch(secret)
    if hashed is None and len(secret) < MIN_SECRET_CHARACTERS:
        raise KeyFileError(
            f"{source}: the secret of {name!r} needs at least {MIN_SECRET_CHARACTERS} random characters; "
            "`unroll keys add` makes one"
        )
    digest = hashed[1] if hashed is not None else digest_of(secret.encode("utf-8", "surrogateescape")).hex()
    try:
        return ApiKey(name=name, sha256=digest)
    except ValidationError as error:
        what = str(error.errors(include_input=False)[0]["msg"]).removeprefix("Value error, ")
        raise KeyFileError(f"{source}: {what}") from None


def _require_distinct(keys: Sequence[ApiKey], source: str) -> None:
    """Raises KeyFileError if a name, an identity or a secret is there twice."""
    for kind, values in (
        ("name", [key.name for key in keys]),
        ("id", [key.identity for key in keys]),
        ("sha256", [key.sha256 for key in keys]),
    ):
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            shown = repeated[0] if kind != "sha256" else next(k.name for k in keys if k.sha256 == repeated[0])
            raise KeyFileError(f"{source}: two keys have the {kind} of {shown}")
