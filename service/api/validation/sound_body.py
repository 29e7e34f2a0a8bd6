"""The maximum size of a request body, which depends on what the models read: sound takes megabytes, text does not.

Before a body has come, nobody knows which model it is for. So a route that takes sound lets the larger limit pass as
long as a model that reads sound is served. Only files in base64 may make such a body large, wherever a protocol has
them: they are strings, which take no more memory once they are parsed, as numbers and short texts do. That is seen
before the body is parsed; and a model that reads no sound refuses it.
"""

from __future__ import annotations

import re

from service.errors import BodyTooLarge
from service.inference.engines.registry import Registry
from service.settings import Settings

#: Files in base64 are longer than this twice; so one is found by looking at a body in steps.
_STEP = 512
#: The quote before a file in base64, or a data URL of one, as a value of JSON. Within a string such a quote would be
#: escaped; and outside of strings no JSON has so many characters without a comma or a bracket.
_FILE = re.compile(rb'(?<=[:,\[\s])"(?=(?:data:[\w/+.;=-]{1,100},)?[\w/+=\\-]{%d})' % (2 * _STEP))


def require_sound(raw: bytes, max_bytes: int) -> None:
    """Check that a body of JSON is within the limit on other bodies, its sounds left out. Nothing is parsed.

    Raises:
        BodyTooLarge: it is larger.
    """
    num_bytes, position = len(raw), 0
    while num_bytes > max_bytes:
        start = _next_file(raw, position)
        if start < 0:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes, which only sound in base64 may make it")
        position = raw.find(b'"', start)
        if position < 0:
            return  # this is not JSON, and is refused as such
        num_bytes -= position - start


def _next_file(raw: bytes, position: int) -> int:
    """Where the next file in base64 begins, -1 if there is none: 16 MB of quotes take a few milliseconds."""
    for place in range(position + _STEP, len(raw), _STEP):
        if raw.find(b'"', place, place + _STEP) < 0:
            quote = raw.rfind(b'"', place - _STEP, place)
            if quote >= 0 and _FILE.match(raw, quote):
                return quote + 1
    return -1


def max_body_bytes(settings: Settings, registry: Registry, *, takes_sound: bool) -> int:
    """The most that the body of a request may have, whatever its model, if its route takes sound or if not."""
    if not takes_sound:
        return settings.max_body_bytes
    served = [entry.manifest for entry in registry.entries if entry.manifest is not None]
    reads_sound = any(manifest.reads_sound for manifest in served)
    return settings.most_sound_body_bytes if reads_sound else settings.max_body_bytes
