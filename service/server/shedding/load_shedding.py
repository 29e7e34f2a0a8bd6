"""Load shedding: a request that would be refused is refused at once, before its body is read as JSON.

A refusal has to cost a small part of an answer, else refusing takes the time that answers need (receive livelock): at
ten times the capacity nine requests are refused for each that is answered. So the way of most requests, with a task, a
record, JSON and a log line, is left where its end is known:

- too many requests are open: known for every request;
- the queue of a model is full, or an API key has used up a limit: looked at for those models and keys only that have
  refused a request a moment ago, so that requests cost nothing more while there is room.

A refusal has the same status, headers and body as on the other way, and counts the same. Only its log line may be one
for many, see `RefusalLog`. Whatever is not plain goes the other way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from service.access.api_key import Scope
from service.access.caller import Caller
from service.api.call import Services
from service.api.protocol import Match
from service.api.request_record import KnownHeaders, RequestRecord, request_id_of
from service.api.request_scope import TOO_MANY_OPEN, Headers
from service.errors import Overloaded, RateLimited, UnknownModel
from service.inference.engines.engine import Engine
from service.observability.metrics import NO_MODEL, Metrics
from service.server.shedding.encoded_refusal import EncodedRefusal, RefusalForms, head_of
from service.server.shedding.refusal_report import Model, RefusalCounts, RefusalLog, Refused

#: How long a model or a key is looked at after it has refused a request.
_WATCHED_S = 1.0
#: Models and keys that are looked at: clients choose the names of neither, but there may be many.
_MAX_WATCHED = 1024
#: The model is looked for in so many bytes of a body.
_SEARCHED_BYTES = 4096
#: In a string of JSON these quotes would be escaped, so that a text cannot be taken for it.
_MODEL = re.compile(rb'"model"\s*:\s*(?:"([^"\\]*)")?')

#: By what a key is known before it is checked: the headers that may have it, and what is asked for.
_KeyHeaders = tuple[bytes, bytes, Scope]
#: The scope that is asked for, and the name in the body, "" for none.
_Named = tuple[Scope, str]


class _Watched:
    """A model or a key that refused a request a moment ago."""

    __slots__ = ("_until_s",)

    def __init__(self) -> None:
        self.renew()

    @property
    def is_over(self) -> bool:
        return self._until_s < time.monotonic()

    def renew(self) -> None:
        self._until_s = time.monotonic() + _WATCHED_S


class _FullModel(_Watched):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class _LimitedKey(_Watched):
    __slots__ = ("caller",)

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller


class _Refusing(NamedTuple):
    """Who refuses: the engine whose queue is full, or the caller whose limit is used up."""

    error: Overloaded | RateLimited
    engine: Engine | None = None
    caller: Caller | None = None


class LoadShedding:
    """Use it in the event loop."""

    def __init__(self, services: Services, metrics: Metrics, client_of: Callable[[str, Headers], str]) -> None:
        """`client_of` gives the address of the client behind that of the connection."""
        self._services = services
        self._client_of = client_of
        self._forms = RefusalForms()
        self._counts = RefusalCounts(metrics)
        self._log = RefusalLog()
        self._full: dict[_Named, _FullModel] = {}
        self._limited: dict[_KeyHeaders, _LimitedKey] = {}

    def note(self, match: Match, body: bytes, record: RequestRecord, error: Exception) -> None:
        """A request has failed: if it was refused, those that follow may be refused sooner."""
        if isinstance(error, RateLimited):
            if record.caller is not None and len(self._limited) < _MAX_WATCHED:
                headers = record.headers
                self._limited[headers.authorization, headers.api_key, match.route.needs] = _LimitedKey(record.caller)
        elif isinstance(error, Overloaded) and match.route.names_model and record.model != NO_MODEL:
            name = None if record.headers.content_encoding else _model_of(body)
            if name is not None and len(self._full) < _MAX_WATCHED:
                self._full[match.route.needs, name] = _FullModel(record.model)

    def refusal(self, match: Match, headers: Headers, body: bytes | bytearray, client: str) -> EncodedRefusal | None:
        """The response to a request that must be refused; None if it may be answered. `client` is its connection's."""
        if not self._limited and not self._full:
            return None
        known = KnownHeaders.of(headers)
        refusing = self._limited_key(match, known) if self._limited else None
        if refusing is None and self._full and match.route.names_model and not known.content_encoding:
            sharer = self._client_of(client, headers) if known.is_forwarded else client
            refusing = self._full_model(match, body, sharer)
        return None if refusing is None else self._refused(match, known, refusing, headers, client)

    def too_many(self, match: Match, headers: Headers) -> EncodedRefusal:
        """The response to a request beyond the limit of open ones. It is counted, and not logged."""
        request_id = request_id_of(KnownHeaders.of(headers).request_id)
        self._counts.add_too_many(match.protocol.name)
        return EncodedRefusal(TOO_MANY_OPEN.status, self._forms.too_many(match.protocol.name, match.errors, request_id))

    def _limited_key(self, match: Match, known: KnownHeaders) -> _Refusing | None:
        key = known.authorization, known.api_key, match.route.needs
        watched = self._limited.get(key)
        if watched is None:
            return None
        error = watched.caller.refusal()
        if error is not None:
            watched.renew()
            return _Refusing(error, caller=watched.caller)
        if watched.is_over:
            del self._limited[key]
        return None

    def _full_model(self, match: Match, body: bytes | bytearray, sharer: str) -> _Refusing | None:
        """Where requests need a key, that is checked first, on the other way."""
        name = _model_of(body) if self._services.access.is_idle else None
        if name is None or (watched := self._full.get((match.route.needs, name))) is None:
            return None
        engines = self._engines(watched.name)
        errors = [error for engine in engines if (error := engine.refusal(sharer)) is not None]
        if errors and len(errors) == len(engines):
            watched.renew()
            return _Refusing(errors[-1], engines[-1])
        if watched.is_over:
            del self._full[match.route.needs, name]
        return None

    def _engines(self, model: str) -> list[Engine]:
        """The engines of all versions that answer, the highest last."""
        try:
            versions = self._services.registry.versions(model)
        except UnknownModel:
            return []
        return [entry.engine for entry in versions if entry.engine is not None and entry.engine.is_alive]

    def _refused(
        self, match: Match, known: KnownHeaders, refusing: _Refusing, headers: Headers, client: str
    ) -> EncodedRefusal:
        request_id = request_id_of(known.request_id)
        error, engine, caller = refusing
        told, written = self._forms.encoded(match.protocol.name, match.errors, error, request_id)
        manifest = None if engine is None else engine.opened.bundle.manifest
        refused = Refused(
            match.protocol.name,
            match.route.path,
            told,
            None if manifest is None else Model(manifest.name, manifest.version, manifest.task),
            "" if caller is None else caller.name,
        )
        self._counts.add(refused)
        if self._log.has_room():
            self._log.write(refused, request_id, self._client_of(client, headers))
        else:
            self._log.count(refused)
        limits = b"" if caller is None else head_of(caller.limit_headers())[:-2]
        return EncodedRefusal(told.status, limits + written)


def _model_of(body: bytes | bytearray) -> str | None:
    """The name of the model in a body of JSON, "" if there is none; None if it cannot be told without reading it."""
    found = _MODEL.findall(body, 0, _SEARCHED_BYTES)
    if len(found) == 1 and found[0]:
        return bytes(found[0]).decode("utf-8", "replace")
    return "" if not found and len(body) <= _SEARCHED_BYTES else None
