"""POST routes that FastAPI documents and that are answered without its machinery.

Matching the path, resolving dependencies in worker threads, parsing a body with one library and validating it with
another costs more than a small model needs for its answer. Here the path is looked up in a dict, the bytes go straight
into pydantic's own JSON parser, and the endpoint gets the checked body and a `Call`. Signature, schema and errors are
those of any other route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.dependencies import ClientGone
from service.api.error_table import error_response
from service.api.request_record import TIMEOUT_HEADER, RequestRecord
from service.api.state_source import StateStorage
from service.errors import InvalidInput
from service.inference.engines.engine import Engine
from service.inference.engines.registry import Registry
from service.inference.state.sealed_state import StateOwner
from service.settings import Settings
from service.tasks.inputs.json_input import JsonInputs

T = TypeVar("T")

_JSON = b"application/json"
_MAX_LOGGED_TEXTS = 8
_MAX_LOGGED_CHARACTERS = 200

TimeoutHeader = Annotated[
    int | None,
    Header(
        alias=TIMEOUT_HEADER,
        ge=1,
        description="give up after so many milliseconds; the service's own limit still holds",
    ),
]


class Services(NamedTuple):
    """What endpoints work with."""

    registry: Registry
    settings: Settings
    state_storage: StateStorage


class Call:
    """One request as an endpoint sees it: who answers, until when, and whether the caller is still there."""

    def __init__(self, services: Services, record: RequestRecord, receive: Receive | None) -> None:
        """`receive` tells when the caller leaves; without it, whoever made the call sees to that.

        Raises:
            HTTPException: the body is not declared as JSON.
            InvalidInput: the header names a timeout that is none.
        """
        self.registry, self.settings, self.state_storage = services
        self.record = record
        _require_json(record.headers.content_type)
        limit_ms = self.settings.default_timeout_ms
        timeout_ms = _milliseconds(record.headers.timeout_ms) or limit_ms
        self.deadline_s = record.started_s + min(timeout_ms, limit_ms) / 1000
        #: Who asks, as far as callers tell us: what they authorise themselves with. States are good for them alone.
        self.caller = record.headers.authorization.decode("latin-1")
        self._receive = receive

    def note_engine(self, engine: Engine) -> None:
        """Say in the request's record which model answers it."""
        manifest, record = engine.opened.bundle.manifest, self.record
        record.model, record.version, record.task = manifest.name, manifest.version, manifest.task

    def note_texts(self, inputs: JsonInputs) -> None:
        """Keep what was sent for the log, or the beginning of it, where the settings allow that; numbers never."""
        if self.settings.log_texts:
            texts = [inputs] if isinstance(inputs, (str, dict)) else inputs[:_MAX_LOGGED_TEXTS]
            plain = [text if isinstance(text, str) else " ".join(text) for text in texts]
            self.record.texts = [text[:_MAX_LOGGED_CHARACTERS] for text in plain]

    def owner_of_states(self, engine: Engine) -> StateOwner:
        """Whom the states of this request are for: its caller and the model that answers."""
        manifest = engine.opened.bundle.manifest
        return StateOwner(manifest.name, manifest.version, engine.opened.identity, self.caller)

    async def unless_client_leaves(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled if the caller hangs up first. Raises ClientGone then."""
        receive = self._receive
        if receive is None:
            return await work
        working = asyncio.current_task()
        assert working is not None, "endpoints run in a task"
        has_left = False

        async def watch() -> None:
            nonlocal has_left
            while (await receive())["type"] != "http.disconnect":
                pass
            has_left = True
            working.cancel()

        watching = asyncio.create_task(watch())
        try:
            return await work
        except asyncio.CancelledError as error:
            if has_left:
                working.uncancel()
                raise ClientGone from error
            raise
        finally:
            watching.cancel()


def get_call(request: Request, timeout_ms: TimeoutHeader = None) -> Call:  # noqa: ARG001 - read from the record
    """Declares to FastAPI what a `Call` is made from, so that the header stands in the documentation."""
    return Call(request.app.state.services, request.state.record, request.receive)


CallDependency = Annotated[Call, Depends(get_call)]


class JsonRoute(APIRoute):
    """Its endpoint takes `body`, a pydantic model, and `call`, a `Call`, and returns a Response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        assert self.body_field is not None, "an endpoint with a body"
        self._body_type: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]

    @property
    def answers_whole(self) -> bool:
        """Whether the answer is one body; a stream of events has no response model."""
        return self.response_model is not None

    async def answer(self, call: Call, body: bytes) -> Response:
        """Check the body and answer. Raises what the error table knows."""
        response: Response = await self.endpoint(body=self._parse(body), call=call)
        return response

    def _parse(self, raw: bytes) -> BaseModel:
        if not raw:
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        try:
            return self._body_type.model_validate_json(raw)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            located = [{**problem, "loc": ("body", *problem["loc"])} for problem in problems]
            raise RequestValidationError(located) from error


class JsonRoutes:
    """Answers those routes itself and leaves everything else to the application."""

    def __init__(self, app: ASGIApp, routes: Sequence[JsonRoute], services: Services) -> None:
        self._app = app
        self._services = services
        self._routes = {route.path: route for route in routes}
        #: The paths that `respond` can answer.
        self.whole_paths = frozenset(route.path for route in routes if route.answers_whole)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI middleware. An error that no table knows goes on to the request's scope."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        record = scope["state"]["record"]
        try:
            call = Call(self._services, record, receive)
            response = await route.answer(call, await _read_body(receive))
        except Exception as error:
            response = error_response(record, error)
        await response(scope, receive, send)

    async def respond(self, record: RequestRecord, body: bytes) -> Response:
        """Without ASGI: the whole answer to a whole body, for `record.path` in `whole_paths`."""
        try:
            response = await self._routes[record.path].answer(Call(self._services, record, None), body)
            record.status = response.status_code
        except Exception as error:
            return error_response(record, error)
        return response


def _require_json(content_type: bytes) -> None:
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type != _JSON and not media_type.endswith(b"+json"):
        raise HTTPException(415, "send JSON, and say so with the header Content-Type: application/json")


def _milliseconds(value: bytes) -> int:
    """The number in a header, 0 if the header is absent."""
    if not value:
        return 0
    if not value.isdigit() or not int(value[:10]):
        raise InvalidInput("must be a whole number of milliseconds, at least 1", (TIMEOUT_HEADER,))
    return int(value[:10])


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    raw: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        raw += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientGone
    return raw
