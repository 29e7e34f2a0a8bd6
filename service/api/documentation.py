"""The OpenAPI document: the routes of protocols, errors in the form of each, names of operations, API keys.

FastAPI documents the routes of protocols and never calls them.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Header, Path
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from service.api.error_table import ErrorForm
from service.api.examples.refusals import refusals
from service.api.protocol import Protocol, Responses, Route, path_parameters
from service.api.request_record import TIMEOUT_HEADER
from service.api.schemas import ErrorResponse

_TIMEOUT = Annotated[
    int,  # and not `int | None`, which documents the word "null" as a value
    Header(
        alias=TIMEOUT_HEADER,
        ge=1,
        description="give up after this many milliseconds; the service's own limit still holds",
    ),
]

#: What FastAPI says about invalid requests of its own accord. No answer of this service has this form.
_FOREIGN_ERROR = "HTTPValidationError"
_FOREIGN_SCHEMAS = (_FOREIGN_ERROR, "ValidationError")

_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the service asks for one: `Authorization: Bearer KEY`.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same in another header."},
}


#: A list of nothing but numbers, as `json.dumps` writes it: one on each line. A string has no line breaks there.
_NUMBERS = re.compile(r"\[\n([-+.\deE,\s]+)\]")


def document(protocol: Protocol, app: FastAPI) -> None:
    """Add the routes of a protocol to the document. It also makes other methods on their paths 405, not 404."""
    router = APIRouter()
    for route in protocol.routes:
        router.add_api_route(
            route.path,
            _described(route, protocol.errors),
            methods=[route.method],
            response_model=route.answer,
            # The plain class declares no content of its own: what `responses` says is then all.
            response_class=Response if route.answer is None else JSONResponse,
            status_code=_main_status(route),
            responses=_responses(route, protocol.errors),
            operation_id=route.operation_id or route.endpoint.__name__,
            summary=route.summary or None,
            tags=[protocol.tag],
            openapi_extra={"requestBody": dict(route.request_body)} if route.request_body else None,
        )
    app.include_router(router)


def complete_document(app: FastAPI, protocols: Iterable[Protocol]) -> dict[str, Any]:
    """The document of all routes, made once: to replace `app.openapi`.

    FastAPI adds to each route with parameters an error that none of them answers with, which is taken out, and drops
    every null of an example, which is put back. Keys are optional: the service may be run without.
    """
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            license_info=app.license_info,
        )
        for route in (route for protocol in protocols for route in protocol.routes):
            _restore_examples(made["paths"], route)
        for methods in made["paths"].values():
            for operation in methods.values():
                _drop_foreign_error(operation["responses"])
        components = made["components"]
        for name in _FOREIGN_SCHEMAS:
            components["schemas"].pop(name, None)
        components["securitySchemes"] = _SECURITY_SCHEMES
        made["security"] = [{}, *({name: []} for name in _SECURITY_SCHEMES)]
        app.openapi_schema = made
    return app.openapi_schema


def written(document: dict[str, Any]) -> str:
    """The document as the text of a file: ASCII, two blanks for each level, lists of numbers on one line."""
    return _NUMBERS.sub(_on_one_line, json.dumps(document, indent=2)) + "\n"


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def _restore_examples(paths: dict[str, Any], route: Route[Any]) -> None:
    """Put the examples of answers in as they were declared."""
    documented = paths[route.path][route.method.lower()]["responses"]
    for status, response in route.responses.items():
        for media_type, content in response.get("content", {}).items():
            if "example" in content:
                documented[str(status)]["content"][media_type]["example"] = content["example"]


def _drop_foreign_error(responses: dict[str, Any]) -> None:
    for status, response in list(responses.items()):
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith(f"/{_FOREIGN_ERROR}"):
            del responses[status]


def _responses(route: Route[Any], errors: ErrorForm) -> Responses:
    """What the route declares, and the errors that every route of its kind may answer with."""
    has_body, has_model = route.method == "POST", route.reads_json or "{" in route.path
    declared = {**refusals(errors, has_body=has_body, has_model=has_model), **route.responses}
    return {status: _with_type(response, errors, int(status)) for status, response in sorted(declared.items())}


def _with_type(response: dict[str, Any], errors: ErrorForm, status: int) -> dict[str, Any]:
    """An error has a body of the protocol's form, unless it declares another."""
    return response if status < 400 or "model" in response else {**response, "model": errors.answer or ErrorResponse}


def _main_status(route: Route[Any]) -> int:
    """200; of a route that always refuses, the lowest status that it declares."""
    statuses = [int(status) for status in route.responses]
    return min(statuses) if route.answer is None and statuses and 200 not in statuses else 200


def _described(route: Route[Any], errors: ErrorForm) -> Callable[..., Any]:
    """A function with the name, the docstring and, for FastAPI to read, the parameters of a route."""

    async def endpoint() -> Response:
        raise AssertionError("the dispatcher answers this route")

    endpoint.__name__ = route.endpoint.__name__
    endpoint.__doc__ = route.endpoint.__doc__
    endpoint.errors = errors  # type: ignore[attr-defined]  # of a method that the path does not have
    endpoint.__signature__ = inspect.Signature(list(_parameters(route)))  # type: ignore[attr-defined]
    return endpoint


def _parameters(route: Route[Any]) -> Iterator[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    for name in path_parameters(route.path):
        yield inspect.Parameter(name, keyword, annotation=Annotated[str, Path()])
    if route.reads_json or route.documented_body is not None:
        default = Body(None if route.default_body else ..., openapi_examples=dict(route.examples))
        body = route.body if route.reads_json else route.documented_body
        yield inspect.Parameter("body", keyword, default=default, annotation=body)
    yield inspect.Parameter("timeout_ms", keyword, default=None, annotation=_TIMEOUT)
