"""Caller: one API key while the service runs, with its limits and what it has used of them."""

from __future__ import annotations

import time
from collections import Counter

from service.access.api_key import ANONYMOUS, GRANTED_SCOPES, ApiKey, Scope
from service.access.rate_limit import Headers, RateLimit
from service.access.usage import UsageCounter, UsageLedger
from service.errors import BodyTooLarge, Forbidden, RateLimited

#: No header can contain it, so that no `Authorization` header of the time without keys is taken for a key.
_APART = "\0key\0"
RETRY_WHEN_BUSY_S = 1.0
_MAX_DIGITS = 19

_NO_HEADERS: Headers = []


class Caller:
    """A key, its limits, and the requests that it has open. It stays the same when the file of keys is read again.

    Attributes:
        name: in metrics, logs and usage.
        identity: what states and sessions are bound to; "" for whoever has no key.
        sharer: between whom the lanes are shared; "" likewise.
        refusals: of all callers, by name and reason.
    """

    def __init__(self, key: ApiKey | None, ledger: UsageLedger, refusals: Counter[tuple[str, str]]) -> None:
        """`key` is None for all who call while there are no keys: they have no limits, and are only counted."""
        self.name, self.identity, self.sharer = ANONYMOUS, "", ""
        self.weight, self.expires_s = 1.0, float("inf")
        self.num_open = 0
        self.max_body_bytes: int | None = None
        self._max_open: int | None = None
        self._granted = self._scopes = frozenset({"any", *GRANTED_SCOPES})
        self._ledger = ledger
        self._refusals = refusals
        self._counters: dict[str, UsageCounter] = {}
        self._requests: RateLimit | None = None
        self._tokens: RateLimit | None = None
        if key is not None:
            self.renew(key)

    def renew(self, key: ApiKey) -> None:
        """Take over what the record of the key says now. What was used of its limits stays used."""
        self.name, self.identity = key.name, _APART + key.identity
        self.sharer = f"key:{key.name}"
        self.weight = key.weight
        self.expires_s = key.expires_s
        self.max_body_bytes = key.limits.max_body_bytes
        self._max_open = key.limits.concurrent_requests
        self._scopes = frozenset({"any", *(scope.partition(":")[0] for scope in key.scopes)})
        self._granted = frozenset(key.scopes)
        self._requests = self._changed(self._requests, key.limits.requests_per_minute, "requests")
        self._tokens = self._changed(self._tokens, key.limits.tokens_per_minute, "tokens")
        self._counters = {}

    def admit(self, scope: Scope, content_length: bytes = b"") -> None:
        """Begin a request; `end` it.

        Raises:
            Forbidden: the key lacks the scope.
            BodyTooLarge: the declared body is larger than the key allows.
            RateLimited: too many requests or tokens a minute, or too many requests at once.
        """
        if scope not in self._scopes:
            self.require_scope(scope)
        if self.max_body_bytes is not None and content_length.isdigit():
            self.require_body(int(content_length.lstrip(b"0")[:_MAX_DIGITS] or b"0"))
        if self._max_open is not None and self.num_open >= self._max_open:
            raise self._limited("concurrent_requests", RETRY_WHEN_BUSY_S)
        self.take_request()
        self.num_open += 1

    def reached_limit(self) -> tuple[str, float] | None:
        """The limit for which a request would be refused now, and how long it has to wait; None if it would not."""
        if self._max_open is not None and self.num_open >= self._max_open:
            return "concurrent_requests", RETRY_WHEN_BUSY_S
        now_s = time.monotonic()
        if self._tokens is not None and (wait_s := self._tokens.wait_s(now_s)) > 0:
            return "tokens_per_minute", wait_s
        if self._requests is not None and (wait_s := self._requests.wait_s(now_s)) > 0:
            return "requests_per_minute", wait_s
        return None

    def count_refusal(self, limit: str) -> None:
        """One more request has been refused for this limit."""
        self._refusals[self.name, limit] += 1

    def take_request(self) -> None:
        """Count one request against the limits a minute; those within an open connection count so too.

        Raises RateLimited.
        """
        requests, tokens = self._requests, self._tokens
        if requests is not None or tokens is not None:
            now_s = time.monotonic()
            if tokens is not None and (wait_s := tokens.wait_s(now_s)) > 0:
                raise self._limited("tokens_per_minute", wait_s)
            if requests is not None and (wait_s := requests.take_one(now_s)):
                raise self._limited("requests_per_minute", wait_s)

    def end(self, model: str) -> None:
        """The request has ended, in whatever way."""
        self.num_open -= 1
        counter = self._counters.get(model) or self._counter(model)
        counter.requests += 1

    def require_scope(self, scope: Scope) -> None:
        """Raises Forbidden if the key lacks the scope."""
        if scope not in self._scopes:
            raise self._forbidden(f"the key {self.name} may not do this: it needs the scope {scope}", "scope")

    def require_body(self, num_bytes: int) -> None:
        """Raises BodyTooLarge for a body that is larger than the key allows."""
        if self.max_body_bytes is not None and num_bytes > self.max_body_bytes:
            self._refusals[self.name, "body"] += 1
            raise BodyTooLarge(f"the body is larger than the {self.max_body_bytes} bytes of the key {self.name}")

    def require_model(self, scope: Scope, model: str) -> None:
        """Raises Forbidden if the key has no scope for this model."""
        granted = self._granted
        if scope not in granted and f"{scope}:{model}" not in granted:
            what = f"{scope}:{model}" if scope in self._scopes else scope
            raise self._forbidden(f"the key {self.name} may not use {model}: it needs the scope {what}", "model")

    def may_ask(self, scope: Scope, model: str, num_bytes: int) -> bool:
        """Whether the key allows this to be asked of the model now, in a body of so many bytes. Nothing is counted."""
        granted = scope in self._granted or (scope in self._scopes and f"{scope}:{model}" in self._granted)
        fits = self.max_body_bytes is None or num_bytes <= self.max_body_bytes
        return granted and fits and self.reached_limit() is None

    def charge(self, model: str, read_tokens: int = 0, written_tokens: int = 0, compute_s: float = 0.0) -> None:
        """Count what a request has used. Tokens count against the limit after the fact, so they may exceed it."""
        counter = self._counter(model)
        counter.read_tokens += read_tokens
        counter.written_tokens += written_tokens
        counter.compute_s += compute_s
        if self._tokens is not None and (num_tokens := read_tokens + written_tokens):
            self._tokens.take(time.monotonic(), num_tokens)

    def limit_headers(self) -> Headers:
        """The state of the limits a minute as response headers, in the form that OpenAI's clients read."""
        if self._requests is None and self._tokens is None:
            return _NO_HEADERS
        now_s = time.monotonic()
        headers = [] if self._requests is None else self._requests.headers(now_s)
        return headers if self._tokens is None else headers + self._tokens.headers(now_s)

    def _counter(self, model: str) -> UsageCounter:
        counter = self._counters.get(model)
        if counter is None:
            counter = self._counters[model] = self._ledger.of(self.name, model)
        return counter

    def _forbidden(self, message: str, reason: str) -> Forbidden:
        self._refusals[self.name, reason] += 1
        held = ", ".join(sorted(self._granted))
        return Forbidden(f"{message}; it has {held}")

    def _limited(self, limit: str, wait_s: float) -> RateLimited:
        self.count_refusal(limit)
        return self.refusal(limit, wait_s)

    def refusal(self, limit: str, wait_s: float) -> RateLimited:
        """The error of a request that has to wait so long for this limit."""
        if limit == "concurrent_requests":
            amount = f"{self._max_open} requests at once"
        elif limit == "requests_per_minute":
            amount = f"{self._requests.per_minute if self._requests else 0} requests a minute"
        else:
            amount = f"{self._tokens.per_minute if self._tokens else 0} tokens a minute"
        wait = "wait for one to end" if limit == "concurrent_requests" else f"wait for {wait_s:.1f} s"
        return RateLimited(f"the key {self.name} allows {amount}: {wait}", limit, wait_s)

    def _changed(self, limit: RateLimit | None, per_minute: int | None, kind: str) -> RateLimit | None:
        if per_minute is None:
            return None
        if limit is None:
            return self._new_limit(per_minute, kind)
        limit.change(per_minute)
        return limit

    def _new_limit(self, per_minute: int, kind: str) -> RateLimit:
        return RateLimit(per_minute, kind)
