"""Access control: who sends a request, by its API key. The keys can be read again while requests are answered."""

from __future__ import annotations

import logging
import math
import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Literal

from service.access.api_key import UNKNOWN, ApiKey
from service.access.caller import Caller
from service.access.key_file import KeyFileError, keys_of_text, read_keys
from service.access.usage import UsageLedger
from service.errors import KeyRefusal, Unauthenticated
from service.settings import Settings, SettingsError
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

ReadKeys = Callable[[], list[ApiKey]]
NewCaller = Callable[[ApiKey, UsageLedger, Counter[tuple[str, str]]], Caller]
ReloadOutcome = Literal["ok", "unchanged", "failed"]

#: By so much of its digest a key is found; the rest is compared in constant time. Whoever measured how long the search
#: takes would learn of digests, and so nothing of secrets.
_INDEX_BYTES = 8
_BEARER = b"bearer"
#: A copy of it takes half as long as a new one, for which OpenSSL looks up the algorithm.
_SHA256 = sha256()


class AccessControl:
    """The keys and their callers. Use it in the event loop.

    Attributes:
        is_on: whether requests need a key.
        is_idle: whether they need neither be checked nor counted.
        ledger: what was used, by key and model.
        refusals: requests that were refused for their key, by its name and the reason.
        weights: the weights of callers in the sharing of lanes, where they are not 1; updated in place.
        num_loaded, num_failed: times that keys were read and could not be.
        is_current: whether the last reading succeeded.
    """

    def __init__(self, read: ReadKeys | None, *, counts_usage: bool = False, group: WorkerGroup | None = None) -> None:
        """Read the keys; None: requests need none. `counts_usage`: count what callers without keys use as well.

        The limits of keys are those of all workers of `group` together.

        Raises:
            KeyFileError: they cannot be read.
            OSError: the workers cannot share limits in the folder of their group.
        """
        self.is_on = read is not None
        self.ledger = UsageLedger()
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.weights: dict[str, float] = {}
        self.reloads: Counter[str] = Counter()
        self.is_current = True
        self._read = read
        self._keys: list[ApiKey] = []
        self._callers: dict[str, Caller] = {}
        self._by_digest: dict[bytes, tuple[bytes, Caller]] = {}
        self._anonymous = Caller(None, self.ledger, self.refusals) if counts_usage and read is None else None
        self.is_idle = read is None and self._anonymous is None
        self._new_caller: NewCaller = Caller
        if read is not None:
            keys = read()
            if group is not None:
                self._new_caller = _shared_callers(group, len(keys))
            self._replace(keys)
            if not self._keys:
                logger.warning("there are no API keys yet: every request is refused until one is added")

    @property
    def num_keys(self) -> int:
        return len(self._keys)

    def identify(self, authorization: bytes, api_key: bytes) -> Caller:
        """Whose key the headers `Authorization: Bearer KEY` or `x-api-key: KEY` have; both as received.

        Raises:
            Unauthenticated: there is none, it is unknown, or it has expired.
        """
        if self._anonymous is not None:
            return self._anonymous
        scheme, secret = _secret_of(authorization, api_key)
        if not secret:
            raise self._without_key(scheme)
        caller = self._by_secret(secret)
        if caller is None:
            raise self._refused("unknown", "the API key is unknown: it was revoked, or never made")
        if caller.expires_s != math.inf and caller.expires_s <= time.time():
            raise self._refused("expired", f"the API key {caller.name} has expired", caller.name)
        return caller

    def find(self, authorization: bytes, api_key: bytes) -> Caller | None:
        """As `identify`, but where that would refuse the request it is None, and nothing is counted."""
        if self._anonymous is not None:
            return self._anonymous
        _, secret = _secret_of(authorization, api_key)
        caller = self._by_secret(secret) if secret else None
        return caller if caller is not None and caller.expires_s > time.time() else None

    def read_again(self) -> list[ApiKey] | None:
        """The keys as they are now; None if they cannot be read, which is logged. Any thread may call it."""
        try:
            return [] if self._read is None else self._read()
        except KeyFileError as error:
            logger.error("API keys could not be read: the ones before stay valid", extra={"reason": str(error)})
            return None

    def take_over(self, keys: list[ApiKey] | None) -> ReloadOutcome:
        """Replace the keys. Requests in progress are not affected; None, what could not be read, changes nothing."""
        if not self.is_on or keys == self._keys:
            return self._noted("unchanged")
        if keys is None:
            return self._noted("failed")
        self._replace(keys)
        logger.info("API keys were read", extra={"num_keys": len(keys)})
        return self._noted("ok")

    def _by_secret(self, secret: bytes) -> Caller | None:
        hashing = _SHA256.copy()
        hashing.update(secret)
        digest = hashing.digest()  # as `digest_of`
        expected, caller = self._by_digest.get(digest[:_INDEX_BYTES], (b"", None))
        return caller if compare_digest(expected, digest) else None

    def _noted(self, outcome: ReloadOutcome) -> ReloadOutcome:
        self.reloads[outcome] += 1
        self.is_current = outcome != "failed"
        return outcome

    def _replace(self, keys: Sequence[ApiKey]) -> None:
        callers: dict[str, Caller] = {}
        by_digest: dict[bytes, tuple[bytes, Caller]] = {}
        for key in keys:
            caller = self._callers.get(key.identity)
            if caller is None:
                caller = self._new_caller(key, self.ledger, self.refusals)
            else:
                caller.renew(key)
            callers[key.identity] = caller
            digest = bytes.fromhex(key.sha256)
            by_digest[digest[:_INDEX_BYTES]] = digest, caller
        self._keys, self._callers, self._by_digest = list(keys), callers, by_digest
        weights = {caller.sharer: caller.weight for caller in callers.values() if caller.weight != 1}
        for sharer in self.weights.keys() - weights.keys():
            del self.weights[sharer]
        self.weights.update(weights)

    def _without_key(self, scheme: bytes) -> Unauthenticated:
        if not scheme:
            return self._refused("missing", "an API key is needed: send the header Authorization: Bearer KEY")
        if scheme.lower() == _BEARER:
            return self._refused("missing", "there is no key after Bearer: send the header Authorization: Bearer KEY")
        shown = scheme[:20].decode("latin-1")
        shown = shown if shown.isalnum() and len(scheme) <= 20 else "another one"
        return self._refused("scheme", f"the scheme of Authorization must be Bearer, not {shown}: send Bearer KEY")

    def _refused(self, reason: KeyRefusal, message: str, name: str = UNKNOWN) -> Unauthenticated:
        self.refusals[name, reason] += 1
        return Unauthenticated(message, reason)


def _secret_of(authorization: bytes, api_key: bytes) -> tuple[bytes, bytes]:
    """The scheme of `Authorization`, and the secret; empty if there is none."""
    scheme, _, secret = authorization.partition(b" ")
    if scheme != b"Bearer" and scheme.lower() != _BEARER:
        secret = api_key
    return scheme, secret.strip()


def open_access(settings: Settings, group: WorkerGroup | None = None) -> AccessControl:
    """Access control by the settings. The limits of keys are those of all workers of `group` together.

    Raises:
        SettingsError: keys are configured and cannot be read, or workers cannot share their limits.
    """
    counts_usage = settings.usage_dir is not None
    path, text = settings.api_keys_file, settings.api_keys.get_secret_value()
    if path is None and not text.strip():
        return AccessControl(None, counts_usage=counts_usage)

    def read() -> list[ApiKey]:
        return _all_keys(path, text)

    try:
        access = AccessControl(read, counts_usage=counts_usage, group=group)
        if path is not None and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            logger.warning("others may write the file of API keys, and so give themselves keys: chmod 600 it")
        return access
    except KeyFileError as error:
        raise SettingsError(f"{error}; `unroll keys --help` says how keys are made") from error
    except OSError as error:
        raise SettingsError(f"workers cannot share the limits of API keys: {error.strerror or error}") from error


def _shared_callers(group: WorkerGroup, num_keys: int) -> NewCaller:
    """Callers whose limits all workers count together. Raises OSError."""
    from service.access.shared_caller import SharedCaller  # Windows has not what it needs
    from service.access.shared_limits import SharedLimits

    return partial(SharedCaller, limits=SharedLimits(group.folder, group.count, num_keys))


def _all_keys(path: Path | None, text: str) -> list[ApiKey]:
    keys = keys_of_text(text, "UNROLL_API_KEYS")
    keys += read_keys(path) if path is not None else []
    for attribute in ("name", "identity", "sha256"):
        if len({getattr(key, attribute) for key in keys}) < len(keys):
            raise KeyFileError(f"UNROLL_API_KEYS and {path} have a key of the same {attribute}")
    return keys
