"""`GET /sessions` and `DELETE /sessions/{name}`: the sessions that are kept for a caller.

A caller is an API key, or without keys the value of the Authorization header. Callers that send neither cannot be told
apart: they have no list, and delete a session by the name that the service gave out for it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.examples.answers import SESSION_RESPONSES, SESSIONS_RESPONSES
from service.api.protocol import Protocol, Route
from service.errors import Unauthenticated, UnknownSession
from service.inference.state.sealed_state import caller_fingerprint


class KeptSession(BaseModel):
    """One session of a caller."""

    name: str
    model: str
    version: str
    state_bytes: int
    expires_in_s: float = Field(description="seconds until it is dropped, unless it is used before")


class SessionList(BaseModel):
    """The sessions of a caller, those used last first."""

    sessions: list[KeptSession]


class DeletedSession(BaseModel):
    """The name, and of how many models it had a session."""

    name: str
    deleted: int


async def list_sessions(call: Call, _: bytes) -> Response:
    """Your sessions, those used last first, 1,000 at most, each with the time until it is dropped."""
    if not call.caller.strip():
        raise Unauthenticated(
            "sessions are listed for a caller: send the Authorization header with which they were begun", "missing"
        )
    storage = call.state_storage
    kept = await storage.sessions.kept_by(caller_fingerprint(call.caller))
    listed: list[dict[str, Any]] = []
    for session in kept:
        label = storage.labels.read(session.label)
        if label is not None:
            sizes = {"state_bytes": session.num_bytes, "expires_in_s": round(session.expires_in_s, 1)}
            listed.append({**label._asdict(), **sizes})
    return Response(to_json({"sessions": listed}), media_type="application/json")


async def delete_session(call: Call, _: bytes) -> Response:
    """Delete your session of this name, of every model that has one; 409 while a request holds it."""
    name = call.path_values["name"]
    num_deleted = 0
    for key in await _keys_of(call, name):
        async with call.state_storage.sessions.hold(key) as held:
            await held.load()
            num_deleted += await held.delete()
    if not num_deleted:
        raise UnknownSession(f"there is no session {name[:128]!r} of yours, or no longer")
    return Response(to_json({"name": name, "deleted": num_deleted}), media_type="application/json")


async def _keys_of(call: Call, name: str) -> list[str]:
    """Where the caller's sessions of this name are: of the bundles that are loaded, and of those in the list."""
    keys = {owner.fingerprint(name): None for owner in call.state_owners()}
    if call.caller.strip():
        storage = call.state_storage
        for session in await storage.sessions.kept_by(caller_fingerprint(call.caller)):
            label = storage.labels.read(session.label)
            if label is not None and label.name == name:
                keys[session.key] = None
    return list(keys)


PROTOCOL = Protocol(
    name="sessions",
    tag="sessions",
    routes=[
        Route(
            "/sessions",
            list_sessions,
            bytes,
            method="GET",
            scope="any",
            answer=SessionList,
            summary="List your sessions",
            responses=SESSIONS_RESPONSES,
        ),
        Route(
            "/sessions/{name}",
            delete_session,
            bytes,
            method="DELETE",
            scope="any",
            answer=DeletedSession,
            summary="Delete a session",
            responses=SESSION_RESPONSES,
        ),
    ],
)
