"""Requests for a path or a method that is not served: what was asked for, and the nearest that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from service.api.validation.problems import shortened

_MAX_PATH_CHARACTERS = 200
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CUTOFF = 0.7


def shown_path(request: Request) -> str:
    """The path of a request, cut, and with half a surrogate pair or another control character escaped."""
    path: str = shortened(_path(request), _MAX_PATH_CHARACTERS)
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in path)


def unknown_path(request: Request) -> str:
    """The sentence for a path at which there is nothing."""
    near = _nearest(_path(request), list(_documented(request)))
    hint = f"did you mean {near}?" if near else "/docs lists what there is"
    return f"there is nothing at {shown_path(request)}; {hint}"


def unknown_method(request: Request, allowed: str) -> str:
    """The sentence for a method that a path does not take. `allowed` is the value of the Allow header."""
    method = shortened(request.method, _MAX_PATH_CHARACTERS)
    return f"{shown_path(request)} takes {allowed or 'other methods'}, not {method}"


def methods_at(scope: Scope, routes: Sequence[BaseRoute]) -> list[str]:
    """The methods that a path takes by all routes together; none if there is nothing at it."""
    methods: list[str] = []
    for method in _METHODS:
        tried = {**scope, "method": method}
        matching = [route for route in routes if route.matches(tried)[0] is Match.FULL]
        if any(method == "GET" or not isinstance(route, Mount) for route in matching):
            methods.append(method)
    return methods


def _path(request: Request) -> str:
    """The path in the service, without the prefix under which a proxy shows it."""
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path or "/"


def _documented(request: Request) -> Iterator[tuple[str, str]]:
    """Method and path of every route in the OpenAPI document; of several methods that of the request, or the first."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    for path, methods in paths.items():
        asked = request.method.lower()
        yield (asked if asked in methods else next(iter(methods))).upper(), path


def _nearest(path: str, routes: list[tuple[str, str]]) -> str:
    """The route that a path was probably meant to be, such as `POST /predict`; empty if none is near."""
    asked = path[:_MAX_PATH_CHARACTERS].lower().rstrip("/")
    by_form = {_filled(template, asked): f"{method} {template}" for method, template in routes}
    same_end = [form for form in by_form if len(form) > 1 and asked.endswith(form)]
    near = same_end or difflib.get_close_matches(asked, by_form, n=1, cutoff=_CUTOFF)
    return by_form[near[0]] if near else ""


def _filled(template: str, path: str) -> str:
    """`/models/{name}` with the segments of the path in place of its parameters, so that only the rest is compared."""
    parts, given = template.split("/"), path.split("/")
    if len(parts) != len(given):
        return template
    return "/".join(there if part.startswith("{") else part for part, there in zip(parts, given, strict=True))
