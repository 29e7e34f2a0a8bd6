"""Routes are found at once the second time, and answer as the framework's own search would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Match
from starlette.types import Scope

from service.server.edge.remembered_routes import remember_routes


async def _nothing() -> dict[str, str]:
    return {}


def _application() -> FastAPI:
    inner, app = APIRouter(), FastAPI()

    @inner.get("/models/{name}")
    async def model(name: str) -> dict[str, str]:
        return {"model": name}

    @inner.get("/models/{name}/health")
    async def health(name: str) -> dict[str, str]:
        return {"health": name}

    @inner.post("/models/{name}")
    async def change(name: str) -> dict[str, str]:
        return {"changed": name}

    app.include_router(inner)
    return app


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[TestClient, TestClient]]:
    plain, remembering = _application(), _application()
    remember_routes(remembering.router)
    with TestClient(plain) as one, TestClient(remembering) as other:
        yield one, other


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/a"),
        ("GET", "/models/b?x=1"),
        ("GET", "/models/a/health"),
        ("GET", "/models/a%2Fb"),
        ("GET", "/models/a/"),
        ("GET", "/nothing"),
        ("POST", "/models/a"),
        ("PUT", "/models/a"),
        ("GET", "/openapi.json"),
        ("GET", "/models/" + "a" * 300),
    ],
)
def test_answers_are_those_of_the_frameworks_own_search(
    clients: tuple[TestClient, TestClient], method: str, path: str
) -> None:
    """At the first time and afterwards: paths with parameters, redirects, errors and other methods."""
    plain, remembering = clients
    expected = plain.request(method, path)
    for _ in range(2):
        found = remembering.request(method, path)
        assert (found.status_code, found.content, found.url) == (expected.status_code, expected.content, expected.url)


def test_a_known_path_is_not_searched_again() -> None:
    """Of all routes only the one that answers is asked."""
    asked: list[str] = []

    class Asked(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            asked.append(self.path)
            return super().matches(scope)

    app = FastAPI()
    app.router.route_class = Asked
    for number in range(20):
        app.add_api_route(f"/{number}", _nothing)
    remember_routes(app.router)
    with TestClient(app) as client:
        client.get("/19")
        assert len(set(asked)) == 20
        asked.clear()
        assert client.get("/19").status_code == 200
    assert set(asked) == {"/19"}
