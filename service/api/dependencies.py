"""What routes ask for: the registry and settings of this app, and the deadline of this request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request

from service.inference.engine import Engine
from service.inference.registry import Registry
from service.settings import Settings

T = TypeVar("T")


class ClientGone(Exception):
    """The caller hung up before the answer was ready; nobody will read one."""


def get_registry(request: Request) -> Registry:
    """The registry that `create_app` made."""
    registry: Registry = request.app.state.registry
    return registry


def get_settings(request: Request) -> Settings:
    """The settings that `create_app` was given."""
    settings: Settings = request.app.state.settings
    return settings


RegistryDependency = Annotated[Registry, Depends(get_registry)]
SettingsDependency = Annotated[Settings, Depends(get_settings)]
DeadlineHeader = Annotated[
    int | None, Header(ge=1, description="give up after so many milliseconds; the service's own limit still holds")
]


def get_deadline_s(settings: SettingsDependency, x_deadline_ms: DeadlineHeader = None) -> float:
    """When to give up, on `time.monotonic()`'s clock: the service's limit, or sooner if the caller asks."""
    timeout_ms = min(x_deadline_ms or settings.default_timeout_ms, settings.default_timeout_ms)
    return time.monotonic() + timeout_ms / 1000


Deadline = Annotated[float, Depends(get_deadline_s)]


def note_engine(request: Request, engine: Engine) -> None:
    """Say in the request's record which model answers it."""
    manifest, record = engine.opened.bundle.manifest, request.state.record
    record.model, record.version, record.task = manifest.name, manifest.version, manifest.task


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the caller hangs up first. Raises ClientGone then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        leaving.cancel()
        working.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
