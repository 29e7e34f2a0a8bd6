"""Shared caller: an API key whose limits hold for all workers of a service together."""

from __future__ import annotations

from collections import Counter

from service.access.api_key import ApiKey, Scope
from service.access.caller import RETRY_WHEN_BUSY_S, Caller
from service.access.rate_limit import RateLimit
from service.access.shared_limits import KeyPlace, SharedLimits
from service.access.usage import UsageLedger


class SharedCaller(Caller):
    """A key whose limits all workers count. One without limits costs nothing more than with a single worker."""

    def __init__(
        self, key: ApiKey, ledger: UsageLedger, refusals: Counter[tuple[str, str]], limits: SharedLimits
    ) -> None:
        self._limits = limits
        self._place: KeyPlace | None = None
        super().__init__(key, ledger, refusals)

    def renew(self, key: ApiKey) -> None:
        """See `Caller.renew`."""
        limits = key.limits
        if self._place is None and (
            limits.requests_per_minute or limits.tokens_per_minute or limits.concurrent_requests
        ):
            self._place = self._limits.place_of(key.identity)
        super().renew(key)

    def admit(self, scope: Scope, content_length: bytes = b"") -> None:
        """See `Caller.admit`."""
        place = self._place
        if place is None:
            super().admit(scope, content_length)
            return
        self.require_scope(scope)
        with place:
            if self._max_open is not None and not place.open_one(self.num_open, self._max_open):
                raise self._limited("concurrent_requests", RETRY_WHEN_BUSY_S)
            try:
                super().admit(scope, content_length)
            finally:
                place.set_open(self.num_open)

    def end(self, model: str) -> None:
        """See `Caller.end`."""
        super().end(model)
        if self._place is not None:
            self._place.set_open(self.num_open)

    def _new_limit(self, per_minute: int, kind: str) -> RateLimit:
        return super()._new_limit(per_minute, kind) if self._place is None else self._place.rate_limit(per_minute, kind)
