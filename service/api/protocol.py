"""What an HTTP protocol is: its routes, and how it writes errors.

A protocol is one file in `protocols/` that declares a `Protocol`. Everything around its endpoints follows from the
declaration: dispatch with and without ASGI, limits, deadline, metrics, log line, span, error responses and OpenAPI.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from fastapi.openapi.models import Example
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.access.api_key import Scope
from service.api.call import Call
from service.api.error_table import PLAIN, ErrorForm
from service.api.validation.json_body import BodyLimits, parse_body
from service.api.validation.sound_body import require_sound
from service.errors import StillOpening

BodyT = TypeVar("BodyT")
Headers = Sequence[tuple[bytes, bytes]]
Responses = dict[int | str, dict[str, Any]]

_JSON = b"application/json"
_PARAMETER = re.compile(r"\{(\w+)\}")
_NO_VALUES: Mapping[str, str] = MappingProxyType({})
#: Paths with parameters that are remembered; clients choose them, so there is a bound on what they take.
_MAX_KEPT_PATHS, _MAX_KEPT_CHARACTERS = 512, 256


@dataclass(frozen=True)
class Route(Generic[BodyT]):
    """One path of a protocol.

    Attributes:
        path: with parameters in braces, each within one segment: `/v2/models/{model}/infer`.
        endpoint: gets the call and the checked body, and returns a Response, or an EventStream for a stream. It raises
            `UnrollError` or `HTTPException`; the protocol's form writes them.
        body: a pydantic model, which the JSON of the body must fit; or `bytes` for the body as it was sent. A list in
            the model that may be long has `FailFast()` or `max_length`, so that refusing it costs little.
        default_body: what an empty body stands for; b"" where there must be one.
        scope: what an API key needs for it. Left out: any valid key for GET, `predict` for the others.
        any_media_type: whether a JSON body may come without `Content-Type: application/json`, as some clients send it.
        answer: the type of the response in the OpenAPI document; None for a stream and for bodies that are not JSON.
        request_body: what the document says about a body of bytes, as OpenAPI spells it.
        documented_body: the type of the JSON in a body of bytes, for the document.
        names_model: the JSON of the body names the model, or none, and the answer takes a place in that model's queue:
            so a request can be refused before its body is read.
        takes_sound: the body may hold sound, and be as large as sound is: see `sound_body`.
        parts: a body may have so many times the inputs of other requests, since the endpoint takes them in parts.
        operation_id: the name of the operation in the document, from which generators make the names of methods.
            Left out: the name of the endpoint. Unique, and kept from release to release.
    """

    path: str
    endpoint: Callable[[Call, BodyT], Awaitable[Response]]
    body: type[BodyT]
    method: Literal["DELETE", "GET", "POST"] = "POST"
    scope: Scope | None = None
    answer: Any = None
    request_body: Mapping[str, Any] | None = None
    documented_body: Any = None
    operation_id: str = ""
    any_media_type: bool = False
    default_body: bytes = b""
    names_model: bool = False
    takes_sound: bool = False
    parts: int = 1
    summary: str = ""
    examples: Mapping[str, Example] = field(default_factory=dict)
    responses: Responses = field(default_factory=dict)

    @cached_property
    def needs(self) -> Scope:
        """The scope that a request needs."""
        return self.scope or ("any" if self.method == "GET" else "predict")

    @cached_property
    def reads_json(self) -> bool:
        """Whether the body must be declared as JSON and is checked."""
        return issubclass(self.body, BaseModel)

    def require_media_type(self, content_type: bytes) -> None:
        """Raises HTTPException if the body must be JSON and is not declared as such."""
        if content_type == _JSON or self.any_media_type or not self.reads_json:
            return
        media_type = content_type.partition(b";")[0].strip().lower()
        if media_type != _JSON and not media_type.endswith(b"+json"):
            raise HTTPException(415, "send JSON, and say so with the header Content-Type: application/json")

    async def respond(self, call: Call, raw: bytes) -> Response:
        """Check the body and answer. Raises what the error table knows."""
        body: Any = raw
        call.num_body_bytes = len(raw)
        if self.reads_json:
            require_sound(raw, call.settings.max_body_bytes)
            limits = BodyLimits(call.settings.max_body_bytes, call.settings.max_inputs_per_request * self.parts)
            body = parse_body(self.body, raw or self.default_body, limits)  # type: ignore[type-var]  # a model
        while True:
            try:
                return await self.endpoint(call, body)
            except StillOpening as opening:  # nothing has begun yet: the engine is found first
                await call.until_open(opening)


@dataclass(frozen=True)
class Protocol:
    """One HTTP protocol. `name` is its label in the metrics, `tag` its heading in the OpenAPI document.

    Below `root`, such as `/v1/`, a path at which there is nothing is answered in its form of errors too.
    """

    name: str
    tag: str
    routes: Sequence[Route[Any]]
    errors: ErrorForm = PLAIN
    root: str = ""


class PlainResponse(Response):
    """A response whose body and headers are bytes already, and so need not be looked at again."""

    def __init__(self, body: bytes, content_type: bytes = _JSON, more_headers: Headers = ()) -> None:
        self.status_code, self.background, self.body = 200, None, body
        length = b"content-length", b"%d" % len(body)
        self.raw_headers = [length, (b"content-type", content_type), *more_headers]


class Match(NamedTuple):
    """A request's route, its protocol, and the values of the parameters in its path."""

    route: Route[Any]
    protocol: Protocol
    path_values: Mapping[str, str] = _NO_VALUES

    @property
    def errors(self) -> ErrorForm:
        """How its protocol writes errors."""
        return self.protocol.errors


class RouteTable:
    """Finds routes: paths without parameters in a dict, others by patterns of the same number of segments."""

    def __init__(self, protocols: Iterable[Protocol]) -> None:
        self._fixed: dict[tuple[str, str], Match] = {}
        self._patterns: dict[tuple[str, int], list[tuple[re.Pattern[str], Match]]] = {}
        #: What patterns found last: clients ask for the same models again and again.
        self._found: dict[tuple[str, str], Match] = {}
        for protocol in protocols:
            for route in protocol.routes:
                self._add(route, Match(route, protocol))

    def find(self, method: str, path: str) -> Match | None:
        """The route of a decoded path, if a protocol has one. HEAD has the routes of GET."""
        key = method, path
        known = self._fixed.get(key) or self._found.get(key)
        if known is not None:
            return known
        for pattern, match in self._patterns.get((method, path.count("/")), ()):
            found = pattern.fullmatch(path)
            if found is not None:
                return self._kept(key, match._replace(path_values=MappingProxyType(found.groupdict())))
        return None

    def _kept(self, key: tuple[str, str], match: Match) -> Match:
        """The match, found at once the next time, unless the path is too long to be a client's usual one."""
        if len(key[1]) <= _MAX_KEPT_CHARACTERS:
            if len(self._found) >= _MAX_KEPT_PATHS:
                self._found.clear()
            self._found[key] = match
        return match

    def _add(self, route: Route[Any], match: Match) -> None:
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        if "{" not in route.path:
            self._fixed.update({(method, route.path): match for method in methods})
            return
        literals = _PARAMETER.split(route.path)  # literal, name, literal, ...
        parts = [re.escape(part) if number % 2 == 0 else f"(?P<{part}>[^/]+)" for number, part in enumerate(literals)]
        for method in methods:
            key = method, route.path.count("/")
            self._patterns.setdefault(key, []).append((re.compile("".join(parts)), match))


def path_parameters(path: str) -> list[str]:
    """The names in braces, in order."""
    return _PARAMETER.findall(path)
