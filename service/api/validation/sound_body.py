"""The maximum size of a request body, which depends on what the models read: sound takes megabytes, text does not.

Before a body has come, nobody knows which model it is for. So a route that takes sound lets the larger limit pass as
long as a model that reads sound is served. Only the sound in such a body may be large, which is seen before the body is
parsed; and a model that reads none refuses it.
"""

from __future__ import annotations

import re

from service.errors import BodyTooLarge
from service.inference.engines.registry import Registry
from service.settings import Settings

#: The field of an input whose value may be large. In a string of JSON these quotes would be escaped.
_SOUND = re.compile(rb'"wav"\s*:\s*"')


def require_sound(raw: bytes, max_bytes: int) -> None:
    """Check that a body is within the limit on other bodies, its sounds left out. Nothing is parsed.

    Raises:
        BodyTooLarge: it is larger.
    """
    num_bytes, position = len(raw), 0
    while num_bytes > max_bytes:
        found = _SOUND.search(raw, position)
        if found is None:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes, which only sound makes it")
        position = raw.find(b'"', found.end())
        if position < 0:
            return  # this is not JSON, and is refused as such
        num_bytes -= position - found.end()


def max_body_bytes(settings: Settings, registry: Registry, *, takes_sound: bool) -> int:
    """The most that the body of a request may have, whatever its model, if its route takes sound or if not."""
    if not takes_sound:
        return settings.max_body_bytes
    served = [entry.manifest for entry in registry.entries if entry.manifest is not None]
    reads_sound = any(manifest.reads_sound for manifest in served)
    return settings.most_sound_body_bytes if reads_sound else settings.max_body_bytes
