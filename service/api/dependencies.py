"""What routes ask for: the registry of this app."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.inference.engines.registry import Registry


class ClientGone(Exception):
    """The caller hung up before the answer was ready; nobody will read one."""


def get_registry(request: Request) -> Registry:
    """The registry that `create_app` made."""
    registry: Registry = request.app.state.registry
    return registry


RegistryDependency = Annotated[Registry, Depends(get_registry)]
