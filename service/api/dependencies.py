"""Dependencies of the operational routes: the registry of this application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.inference.engines.registry import Registry


async def get_registry(request: Request) -> Registry:  # a function that is not async would be run in a thread
    """The registry that `create_app` made."""
    registry: Registry = request.app.state.registry
    return registry


RegistryDependency = Annotated[Registry, Depends(get_registry)]
