"""The header `Forwarded` (RFC 7239): `for=203.0.113.9;proto=https;host=example.com`, one element for each proxy.

A proxy appends its element to what the client sent, which may be anything, an open quotation mark included. So the list
is read from its end, and only as far as it is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from service.api.request_scope import Headers

_FORWARDED = b"forwarded"
_OTHER_HEADERS = b"x-forwarded-"
_MAX_CHARACTERS = 4096
_MAX_ELEMENTS = 32

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: Quotation marks are optional: some proxies leave them out around addresses with colons and brackets.
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s",;=\\]*)'
_PAIR = re.compile(rf"({_TOKEN})=({_VALUE})")
_LAST_ELEMENT = re.compile(rf"(?:^|,)[ \t]*({_TOKEN}={_VALUE}(?:[ \t]*;[ \t]*{_TOKEN}={_VALUE})*)[ \t]*$")
_ESCAPED = re.compile(r"\\(.)")


def forwarded_elements(headers: Headers) -> list[Mapping[str, str]]:
    """The elements, that of the nearest proxy first, by lower-case names of parameters.

    None where the request has a header `X-Forwarded-*` as well: a proxy that writes one of the two passes on the other
    as the client made it up, and most write those.
    """
    values = [value for name, value in headers if name == _FORWARDED]
    if not values or any(name.startswith(_OTHER_HEADERS) for name, _ in headers):
        return []
    return list(_from_the_end(b",".join(values).decode("latin-1")[-_MAX_CHARACTERS:]))


def _from_the_end(text: str) -> Iterator[Mapping[str, str]]:
    for _ in range(_MAX_ELEMENTS):
        found = _LAST_ELEMENT.search(text)
        if found is None:
            return
        yield {name.lower(): _unquoted(value) for name, value in _PAIR.findall(found[1])}
        text = text[: found.start()]


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
