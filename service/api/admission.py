"""Admission: the API key of a request, checked before its body is parsed, and given back when the request has ended.

Whatever answers requests beside the routes of protocols does the same three steps: `admit`, then the work in the same
task, then `settle`, whatever ended it.
"""

from __future__ import annotations

from service.access.access_control import AccessControl
from service.access.api_key import Scope
from service.access.metering import meter_var
from service.api.request_record import RequestRecord


def admit(access: AccessControl, record: RequestRecord, scope: Scope) -> None:
    """Begin a request of whoever its headers name; the record then has the caller.

    Raises:
        Unauthenticated, Forbidden, BodyTooLarge, RateLimited.
    """
    if scope == "open" or access.is_idle:
        return
    headers = record.headers
    caller = record.caller = access.identify(headers.authorization, headers.api_key)
    caller.admit(scope, headers.content_length)
    record.is_admitted = True
    meter_var.set(caller)


def settle(record: RequestRecord) -> None:
    """The request has ended: it is counted, and no longer among the open ones of its key."""
    if record.is_admitted:
        record.is_admitted = False
        assert record.caller is not None, "who was admitted is known"
        record.caller.end(record.model)
