"""Refusals as bytes: written once for each protocol and each sentence, and then given the id of each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic_core import to_json
from starlette.responses import Response

from service.api.error_table import ErrorForm, error_response
from service.api.request_record import REQUEST_ID_HEADER, KnownHeaders, RequestRecord
from service.api.request_scope import TOO_MANY_OPEN
from service.errors import Overloaded, RateLimited

#: Sentences that are kept encoded; they have the number of waiting requests and a time to wait.
_MAX_KEPT = 1024
#: Shorter ids could be found elsewhere in a body.
MIN_ID_CHARACTERS = 8
#: In place of each character of an id; no id has it, and JSON writes it as it is.
_NO_ID = "~"
_ID_NAME = REQUEST_ID_HEADER.lower().encode()


class EncodedRefusal(NamedTuple):
    """A response: its status, and all bytes after the headers that every response has."""

    status: int
    rest: bytes


class Told(NamedTuple):
    """What metrics and log say about a refusal."""

    status: int
    outcome: str
    rejection: str


class Template(NamedTuple):
    """A response from the header with the id of the request on."""

    told: Told
    #: Around the id of the request: once in the head, and where a protocol repeats it, in the body.
    parts: list[bytes]

    def written(self, request_id: str) -> bytes:
        """The response to this request."""
        return request_id.encode("ascii").join(self.parts)


class RefusalForms:
    """Encodes refusals in the form of each protocol. A sentence that was written before costs no JSON."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, float, int], Template] = {}
        #: By protocol: before and after the id of a request beyond the limit of open ones.
        self._too_many: dict[str, tuple[bytes, bytes]] = {}

    def too_many(self, protocol: str, form: ErrorForm, request_id: str) -> bytes:
        """The response to a request beyond the limit of open ones, from the header with the id on."""
        known = self._too_many.get(protocol)
        if known is None:
            body = to_json(form.body(TOO_MANY_OPEN))
            response = Response(body, headers={"Retry-After": "1"}, media_type="application/json")
            known = self._too_many[protocol] = _ID_NAME + b": ", b"\r\n" + head_of(response.raw_headers) + body
        return request_id.encode("ascii").join(known)

    def template(self, protocol: str, form: ErrorForm, error: Overloaded | RateLimited, request_id: str) -> Template:
        """The response to all requests with ids of that length."""
        if len(request_id) < MIN_ID_CHARACTERS:
            return _template(form, error, request_id)
        key = protocol, str(error), error.retry_after_s, len(request_id)
        template = self._kept.get(key)
        if template is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            template = self._kept[key] = _template(form, error, _NO_ID * len(request_id))
        return template


def _template(form: ErrorForm, error: Overloaded | RateLimited, request_id: str) -> Template:
    record = RequestRecord(request_id, "", KnownHeaders())
    response = error_response(record, error, form)
    written = head_of([(_ID_NAME, request_id.encode("ascii")), *response.raw_headers]) + bytes(response.body)
    told = Told(record.status, record.outcome, record.rejection)
    is_general = request_id.startswith(_NO_ID)
    return Template(told, written.split(request_id.encode("ascii")) if is_general else [written])


def head_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines, and the empty line after them."""
    return b"\r\n".join([*map(b": ".join, headers), b"", b""])
