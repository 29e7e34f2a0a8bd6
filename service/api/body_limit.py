"""The maximum size of a request body, which depends on what the models read: sound takes megabytes, text does not.

Before a body has come, nobody knows which model it is for. So a route that takes sound lets the larger limit pass as
long as a model that reads sound is served. Only the sound in such a body may be large (`require_sound`), which is seen
before the body is parsed; and a model that reads none refuses it.
"""

from __future__ import annotations

from service.api.protocol import Match
from service.inference.engines.registry import Registry
from service.settings import Settings


def max_body_bytes(match: Match | None, settings: Settings, registry: Registry) -> int:
    """The most that the body of a request to this route may have, whatever its model."""
    if match is None or not match.route.takes_sound:
        return settings.max_body_bytes
    served = [entry.manifest for entry in registry.entries if entry.manifest is not None]
    reads_sound = any(manifest.reads_sound for manifest in served)
    return settings.most_sound_body_bytes if reads_sound else settings.max_body_bytes
