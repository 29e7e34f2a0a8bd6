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
from service.api.request_record import REQUEST_ID_HEADER, RequestRecord, request_id_of
from service.api.request_scope import TOO_MANY_OPEN, Headers
from service.errors import Overloaded, RateLimited, UnknownModel
from service.inference.engines.engine import Engine
from service.observability.inference_statistics import InferenceStatistics
from service.observability.metrics import NO_MODEL, Metrics
from service.server.shedding.encoded_refusal import (
    MIN_ID_CHARACTERS,
    EncodedRefusal,
    RefusalForms,
    Template,
    Told,
    head_of,
)
from service.server.shedding.refusal_report import Model, RefusalReport, Refused
from service.tasks.catalogue import route_of

#: How long a model or a key is looked at after it has refused a request.
_WATCHED_S = 1.0
#: Refusals of a key have times to wait in them, which are written anew so often.
_TIMES_HOLD_S = 0.02
#: Models and keys that are looked at: clients choose the names of neither, but there may be many.
_MAX_WATCHED = 1024
#: The model is looked for in so many bytes of a body.
_SEARCHED_BYTES = 4096
#: In a string of JSON these quotes would be escaped, so that a text cannot be taken for it.
_MODEL = re.compile(rb'"model"\s*:\s*(?:"([^"\\]*)")?')

#: By what a key is known before it is checked: the headers that may have it, and what is asked for.
_KeyHeaders = tuple[bytes, bytes, Scope]
#: The path, and the name of the model in the body, "" for none.
_Named = tuple[str, str]
_ID_NAME = REQUEST_ID_HEADER.lower().encode()


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
    """Attributes: `decision` and what it was made for, which holds until the queue or the caller is another."""

    __slots__ = ("decided_for", "decision", "engine", "name", "scope")

    def __init__(self, name: str, scope: Scope) -> None:
        super().__init__()
        self.name = name
        self.scope = scope
        self.engine: Engine | None = None
        self.decided_for: tuple[object, ...] = ()
        self.decision: _Decision | None = None


class _LimitedKey(_Watched):
    __slots__ = ("caller", "decided_for", "decision", "limits", "refused")

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller
        self.refused: dict[tuple[str, Told], Refused] = {}
        self.decided_for: tuple[object, ...] = ()
        self.decision: _Decision | None = None
        self.limits = b""


class _Decision(NamedTuple):
    """A response, and what is told of those who get it."""

    template: Template
    refused: Refused
    #: Of the version that would have answered.
    statistics: InferenceStatistics | None = None


class LoadShedding:
    """Use it in the event loop."""

    def __init__(self, services: Services, metrics: Metrics, client_of: Callable[[str, Headers], str]) -> None:
        """`client_of` gives the address of the client behind that of the connection."""
        self._services = services
        self._client_of = client_of
        self._forms = RefusalForms()
        self._report = RefusalReport(metrics)
        self._too_many: dict[str, Refused] = {}
        self._refused: dict[tuple[str, str, Told, Model, str], Refused] = {}
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
                needs = match.route.needs
                scope = route_of(record.task) if needs == "any" else needs  # type: ignore[arg-type]
                self._full[match.route.path, name] = _FullModel(record.model, scope)

    def refusal(self, match: Match, headers: Headers, body: bytes | bytearray, client: str) -> EncodedRefusal | None:
        """The response to a request that must be refused; None if it may be answered. `client` is its connection's."""
        if not self._limited and not self._full:
            return None
        known = dict(headers)
        if self._limited and (limited := self._limited_key(match, known, client)) is not None:
            return limited
        if self._full and match.route.names_model and b"content-encoding" not in known:
            return self._full_model(match, known, body, client)
        return None

    def too_many(self, match: Match, headers: Headers) -> EncodedRefusal:
        """The response to a request beyond the limit of open ones. It is counted, and not logged."""
        protocol = match.protocol.name
        refused = self._too_many.get(protocol)
        if refused is None:
            told = Told(TOO_MANY_OPEN.status, TOO_MANY_OPEN.error_type, "too_many_open")
            refused = self._too_many[protocol] = Refused(protocol, "", told)
        request_id = request_id_of(dict(headers).get(_ID_NAME, b""))
        self._tell(refused, request_id, "")
        return EncodedRefusal(refused.told.status, self._forms.too_many(protocol, match.errors, request_id))

    def _limited_key(self, match: Match, known: dict[bytes, bytes], client: str) -> EncodedRefusal | None:
        key = known.get(b"authorization", b""), known.get(b"x-api-key", b""), match.route.needs
        watched = self._limited.get(key)
        if watched is None:
            return None
        reached = watched.caller.reached_limit()
        if reached is None:
            if watched.is_over:
                del self._limited[key]
            return None
        limit, wait_s = reached
        request_id = request_id_of(known.get(_ID_NAME, b""))
        decided_for = limit, match.route.path, len(request_id), int(time.monotonic() / _TIMES_HOLD_S)
        if decided_for != watched.decided_for:
            self._decide_limited(match, watched, watched.caller.refusal(limit, wait_s), request_id)
            watched.decided_for = decided_for if len(request_id) >= MIN_ID_CHARACTERS else ()
        watched.caller.count_refusal(limit)
        return self._told_limited(watched, request_id, self._client(known, client))

    def _told_limited(self, watched: _LimitedKey, request_id: str, client: str) -> EncodedRefusal:
        decision = watched.decision
        assert decision is not None, "it was just made"
        self._tell(decision.refused, request_id, client)
        written = watched.limits + decision.template.written(request_id)
        return EncodedRefusal(decision.refused.told.status, written)

    def _decide_limited(self, match: Match, watched: _LimitedKey, error: RateLimited, request_id: str) -> None:
        watched.renew()
        protocol, path, caller = match.protocol.name, match.route.path, watched.caller
        template = self._forms.template(protocol, match.errors, error, request_id)
        kind = path, template.told
        refused = watched.refused.setdefault(kind, Refused(protocol, path, template.told, key=caller.name))
        watched.decision = _Decision(template, refused)
        watched.limits = _limits_of(caller)

    def _full_model(
        self, match: Match, known: dict[bytes, bytes], body: bytes | bytearray, client: str
    ) -> EncodedRefusal | None:
        """A request that its key does not allow goes the other way."""
        name = _model_of(body)
        if name is None or (watched := self._full.get((match.route.path, name))) is None:
            return None
        access, caller = self._services.access, None
        if not access.is_idle:
            caller = access.find(known.get(b"authorization", b""), known.get(b"x-api-key", b""))
            if caller is None or not caller.may_ask(watched.scope, watched.name, len(body)):
                return None
        client = self._client(known, client)
        request_id = request_id_of(known.get(_ID_NAME, b""))
        decision = self._full_decision(match, watched, client, caller, request_id)
        if decision is None:
            if watched.is_over:
                del self._full[match.route.path, name]
            return None
        limits = b""
        if caller is not None:
            try:
                limits = _counted(caller, match, known, watched.name)
            except RateLimited as error:  # a request of another worker was faster
                limited = _LimitedKey(caller)
                self._decide_limited(match, limited, error, request_id)
                return self._told_limited(limited, request_id, client)
        if decision.statistics is not None:
            decision.statistics.refuse()
        self._tell(decision.refused, request_id, client)
        return EncodedRefusal(decision.refused.told.status, limits + decision.template.written(request_id))

    def _full_decision(
        self, match: Match, watched: _FullModel, client: str, caller: Caller | None, request_id: str
    ) -> _Decision | None:
        """The decision for this caller: the one before, if nothing has changed."""
        engine = watched.engine
        key = caller.name if caller is not None and caller.identity else ""
        sharer = caller.sharer if caller is not None and key else client
        decided_for = sharer, key, len(request_id), -1 if engine is None else engine.num_waiting
        if engine is None or decided_for != watched.decided_for:
            self._decide(match, watched, sharer, key, request_id)
        return watched.decision

    def _decide(self, match: Match, watched: _FullModel, sharer: str, key: str, request_id: str) -> None:
        """Look at the queues of the model. It is full if those of all its versions are."""
        watched.engine = watched.decision = None
        engines = self._engines(watched.name)
        errors = [error for engine in engines if (error := engine.refusal(sharer)) is not None]
        if not errors or len(errors) < len(engines):
            return
        watched.renew()
        engine, protocol, path = engines[-1], match.protocol.name, match.route.path
        template = self._forms.template(protocol, match.errors, errors[-1], request_id)
        manifest = engine.opened.bundle.manifest
        model = Model(manifest.name, manifest.version, manifest.task)
        refused = self._refused.setdefault(
            (protocol, path, template.told, model, key), Refused(protocol, path, template.told, model, key)
        )
        watched.decision = _Decision(template, refused, engine.statistics)
        if len(engines) == 1 and len(request_id) >= MIN_ID_CHARACTERS:
            watched.engine, watched.decided_for = engine, (sharer, key, len(request_id), engine.num_waiting)

    def _tell(self, refused: Refused, request_id: str, client: str) -> None:
        if self._report.has_room():
            self._report.tell(refused, request_id, client)
        else:
            self._report.add(refused)

    def _client(self, known: dict[bytes, bytes], client: str) -> str:
        is_forwarded = b"x-forwarded-for" in known or b"forwarded" in known
        return self._client_of(client, known.items()) if is_forwarded else client

    def _engines(self, model: str) -> list[Engine]:
        """The engines of all versions that answer, the highest last."""
        try:
            versions = self._services.registry.versions(model)
        except UnknownModel:
            return []
        return [entry.engine for entry in versions if entry.engine is not None and entry.engine.is_alive]


def _counted(caller: Caller, match: Match, known: dict[bytes, bytes], model: str) -> bytes:
    """Count a request against the limits of its key, as one that was answered; then their header lines.

    Raises RateLimited.
    """
    caller.admit(match.route.needs, known.get(b"content-length", b""))
    limits = _limits_of(caller)
    caller.end(model)
    return limits


def _limits_of(caller: Caller) -> bytes:
    """Header lines with what the limits of a key still allow."""
    return head_of(caller.limit_headers())[:-2]


def _model_of(body: bytes | bytearray) -> str | None:
    """The name of the model in a body of JSON, "" if there is none; None if it cannot be told without reading it."""
    found = _MODEL.findall(body, 0, _SEARCHED_BYTES)
    if len(found) == 1 and found[0]:
        return bytes(found[0]).decode("utf-8", "replace")
    return "" if not found and len(body) <= _SEARCHED_BYTES else None
