"""The routes of protocols in the OpenAPI document. FastAPI documents them and never calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Header, Path
from starlette.responses import Response

from service.api.error_table import ErrorForm
from service.api.protocol import Protocol, Route, path_parameters
from service.api.request_record import TIMEOUT_HEADER

_TIMEOUT = Annotated[
    int,  # and not `int | None`, which documents the word "null" as a value
    Header(
        alias=TIMEOUT_HEADER,
        ge=1,
        description="give up after this many milliseconds; the service's own limit still holds",
    ),
]


def document(protocol: Protocol, app: FastAPI) -> None:
    """Add the routes of a protocol to the document. It also makes other methods on their paths 405, not 404."""
    router = APIRouter()
    for route in protocol.routes:
        router.add_api_route(
            route.path,
            _described(route, protocol.errors),
            methods=[route.method],
            response_model=route.answer,
            responses=route.responses,
            summary=route.summary or None,
            tags=[protocol.tag],
            openapi_extra={"requestBody": dict(route.request_body)} if route.request_body else None,
        )
    app.include_router(router)


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
    if route.reads_json:
        body = Body(openapi_examples=dict(route.examples))
        yield inspect.Parameter("body", keyword, default=body, annotation=route.body)
    yield inspect.Parameter("timeout_ms", keyword, default=None, annotation=_TIMEOUT)
