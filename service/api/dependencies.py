"""Dependencies of the operational routes: the registry of this application, and the API key of a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.access.access_control import AccessControl
from service.inference.engines.registry import Registry


async def get_registry(request: Request) -> Registry:  # a function that is not async would be run in a thread
    """The registry that `create_app` made."""
    registry: Registry = request.app.state.registry
    return registry


async def require_key(request: Request) -> None:
    """Raises Unauthenticated unless the request has a valid key, where keys are needed. It counts against no limit."""
    access: AccessControl = request.app.state.services.access
    if access.is_on:
        record = request.state.record
        record.caller = access.identify(record.headers.authorization, record.headers.api_key)


async def require_admin_for_metrics(request: Request) -> None:
    """Raises Unauthenticated or Forbidden where the settings ask for a key with the scope admin."""
    if request.app.state.settings.metrics_need_key:
        await require_key(request)
        if (caller := request.state.record.caller) is not None:
            caller.require_scope("admin")


RegistryDependency = Annotated[Registry, Depends(get_registry)]
KeyDependency = Depends(require_key)
