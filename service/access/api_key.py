"""API keys: how a secret is made and hashed, and the record that is kept of it.

Only the SHA-256 of a secret is stored. A slow hash (bcrypt, Argon2) protects passwords, which people choose and which
can be guessed; a secret made here has 256 random bits, and nobody tries 2^256 of them, however fast the hash. A slow
one would only cost every request milliseconds.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: What a route needs. `any`: a valid key, whatever its scopes; `open`: no key at all.
Scope = Literal["predict", "generate", "admin", "any", "open"]
#: What a key can be given; `predict` and `generate` also for one model, as `predict:intent-en`.
GRANTED_SCOPES = ("predict", "generate", "admin")
DEFAULT_SCOPES = ("predict", "generate")

#: Makes a leaked secret recognisable to scanners of repositories and logs.
PREFIX = "unroll_"
_SECRET_BYTES = 32
_ID_BYTES = 8
MIN_SECRET_CHARACTERS = 32

#: In metrics and usage for callers without a key, and for secrets that belong to no key.
ANONYMOUS, UNKNOWN = "anonymous", "unknown"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SCOPE = re.compile(r"admin|(predict|generate)(:[a-z0-9][a-z0-9._-]{0,63})?")


class KeyLimits(BaseModel):
    """How much a key may ask for; None: no limit of its own, those of the service hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=1, le=10_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10_000_000_000)
    concurrent_requests: int | None = Field(default=None, ge=1, le=1_000_000)
    max_body_bytes: int | None = Field(default=None, ge=1)


class ApiKey(BaseModel):
    """The record of one key.

    Attributes:
        name: in metrics, logs and usage.
        id: to what states and sessions are bound. It outlives a change of the secret, and a key that is made anew with
            a name that another had before has another one.
        sha256: of the secret, in hexadecimal digits.
        weight: its share of the lanes beside other callers, whose weight is 1.
        expires: the last day on which it is valid, in UTC, or a time with its offset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    id: str = Field(default="", max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    limits: KeyLimits = KeyLimits()
    weight: float = Field(default=1.0, ge=0.01, le=100.0, allow_inf_nan=False)
    expires: str | None = None
    created: str | None = None

    @field_validator("name")
    @classmethod
    def _name_is_a_label(cls, name: str) -> str:
        require_name(name)
        return name

    @field_validator("scopes")
    @classmethod
    def _scopes_are_known(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        require_scopes(scopes)
        return scopes

    @field_validator("expires")
    @classmethod
    def _expiry_is_a_time(cls, expires: str | None) -> str | None:
        if expires is not None:
            seconds_of(expires)
        return expires

    @property
    def identity(self) -> str:
        """What states and sessions are bound to."""
        return self.id or self.name

    @property
    def expires_s(self) -> float:
        """When it ends, in seconds since 1970; infinity if it does not."""
        return float("inf") if self.expires is None else seconds_of(self.expires)


def new_secret() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def new_id() -> str:
    """An identity that no other key has."""
    return secrets.token_hex(_ID_BYTES)


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret).digest()


def require_name(name: str) -> None:
    """Raises ValueError for what cannot be the name of a key."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is no name for a key: lower-case letters, digits and . _ - are allowed, 64 at most"
        )
    if name in (ANONYMOUS, UNKNOWN):
        raise ValueError(f"{name} is what callers without a key are called: choose another name")


def require_scopes(scopes: Sequence[str]) -> None:
    """Raises ValueError for an unknown scope, or none at all."""
    if not scopes:
        raise ValueError(f"a key needs at least one scope of {', '.join(GRANTED_SCOPES)}")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise ValueError(
                f"{scope[:80]!r} is no scope: there are {', '.join(GRANTED_SCOPES)}, and for one model "
                "predict:MODEL and generate:MODEL"
            )


def seconds_of(expires: str) -> float:
    """The end of a day in UTC (`2027-01-31`), or a time with its offset, in seconds since 1970.

    Raises:
        ValueError: it is neither.
    """
    allowed = "write a day such as 2027-01-31, or a time with its offset such as 2027-01-31T18:00:00+01:00"
    try:
        if len(expires) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(expires) + timedelta(days=1), time(), UTC).timestamp()
        moment = datetime.fromisoformat(expires)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{expires[:40]!r} is no time: {allowed}") from error
    if moment.tzinfo is None:
        raise ValueError(f"{expires[:40]!r} has no offset: {allowed}")
    return moment.timestamp()
