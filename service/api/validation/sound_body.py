"""A body with sound may be larger than others, by the sound."""

from __future__ import annotations

import re

from service.errors import BodyTooLarge

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
