"""Bundles that are pulled before a service loads its models folder (`UNROLL_PULL`)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import HubError
from service.hub.address import Address, parse_address
from service.hub.pull import Pulling, is_signed, local_bundle, pull
from service.hub.signature import read_public_key
from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class PullsAtStart:
    """The addresses that must have been pulled, and what is left of them. Call it from one thread at a time.

    Attributes:
        reasons: a sentence for each address whose bundle is not there yet: why the service is not ready.
    """

    def __init__(self, addresses: Sequence[Address], how: Pulling) -> None:
        self._left = list(addresses)
        self._how = how
        self.reasons = [f"{address}: not pulled yet" for address in addresses]

    @property
    def is_done(self) -> bool:
        """Whether all of them are in the models folder."""
        return not self._left

    def run(self) -> None:
        """Pull what is left. What cannot be pulled is logged and kept, for the next call."""
        failures: dict[Address, str] = {}
        with _one_process(self._how.models_root):
            for place, address in enumerate(self._left):
                waiting = [f"{after}: not pulled yet" for after in self._left[place + 1 :]]
                self.reasons = [*failures.values(), f"{address}: being pulled", *waiting]
                try:
                    self._pull(address)
                except Exception as error:  # of libraries too: the others are pulled all the same
                    if not isinstance(error, HubError):
                        logger.exception("a pull failed by a fault", extra={"address": str(address)})
                    failures[address] = f"cannot be pulled: {error}"
                    logger.error("a bundle cannot be pulled", extra={"address": str(address), "reason": str(error)})
        self._left = list(failures)
        self.reasons = list(failures.values())

    def _pull(self, address: Address) -> None:
        """Pull one bundle, unless its digest is known and it is here: then the other side need not answer."""
        here = local_bundle(self._how.models_root, address.digest) if address.names_the_manifest else None
        trusted = self._how.trusted
        if here is not None and (not trusted or is_signed(here, address.digest, trusted)):
            return
        pulled = pull(address, self._how)
        found = pulled.found
        told = {
            "address": str(address),
            "bundle": f"{found.manifest.name}@{found.manifest.version}",
            "digest": f"sha256:{found.digest}",
            "licence": found.manifest.licence,
            "signature": str(found.signature),
        }
        logger.info("pulled a bundle" if pulled.outcome == "pulled" else "a bundle is there already", extra=told)


def pulls_of(settings: Settings) -> PullsAtStart:
    """The pulls of the settings. Raises SettingsError for an address that is none, or a key that cannot be read."""
    try:
        trusted = [read_public_key(path) for path in settings.trusted_key_list]
        addresses = [parse_address(address) for address in settings.pull.split()]
    except HubError as error:
        raise SettingsError(f"UNROLL_PULL, UNROLL_TRUSTED_KEYS: {error}") from error
    return PullsAtStart(addresses, Pulling(settings.models_dir, trusted, settings.pull_max_bytes))


@contextmanager
def _one_process(models_root: Path) -> Iterator[None]:
    """One after the other, where several workers pull into one folder: all but the first find the bundles there."""
    descriptor = None
    with suppress(OSError):
        models_root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(models_root, os.O_RDONLY | os.O_CLOEXEC) if sys.platform != "win32" else None
    try:
        if descriptor is not None:
            import fcntl

            with suppress(OSError):  # a file system without locks: each pulls for itself, and the first one publishes
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
