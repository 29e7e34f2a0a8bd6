"""Requests of the command line to a server: patient with a busy one, and a plain sentence for every other answer."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from service.cli.prediction.answers import RefusedInput
from service.errors import UnrollError

if TYPE_CHECKING:
    import httpx

#: Statuses of a server or a gateway that may answer the next time: busy, starting, stopping.
_BUSY = frozenset({429, 502, 503, 504})
#: Pauses between attempts; a server may ask for longer ones, up to the limit.
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_LONGEST_PAUSE_S = 30.0
_REFUSED = frozenset({400, 413, 422})
UNAUTHORIZED = 401
_MAX_MESSAGE_CHARACTERS = 1000


def request_json(url: str, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> dict[str, Any]:
    """The JSON object that a server answers.

    Raises:
        RefusedInput: the inputs are refused, or too large.
        UnrollError: anything else: no connection, another kind of server, a server that stays busy.
    """
    import httpx

    for pause_s in (*PAUSES_S, None):
        try:
            response = httpx.request(method, url + path, json=body, headers=key_header(), timeout=timeout_s)
        except httpx.HTTPError as error:
            raise UnrollError(f"{url}: {str(error) or type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise UnrollError(f"{url}: {error}") from error
        if response.status_code not in _BUSY or pause_s is None:
            return _object_of(response)
        time.sleep(max(pause_s, _asked_pause_s(response)))
    raise AssertionError("the last attempt returns or raises")


def key_header() -> dict[str, str]:
    """The header with the API key of the environment, if there is one."""
    key = os.environ.get("UNROLL_API_KEY", "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def _asked_pause_s(response: httpx.Response) -> float:
    try:
        return min(_LONGEST_PAUSE_S, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


def _object_of(response: httpx.Response) -> dict[str, Any]:
    if response.is_redirect:
        target = response.headers.get("location", "another address")
        raise UnrollError(f"{response.url} answered {response.status_code}, a redirect to {target}: give that address")
    found = _json(response)
    if response.is_success and isinstance(found, dict):
        return found
    if response.is_success or not (isinstance(found, dict) and "error" in found):
        raise UnrollError(
            f"{response.url} answered {response.status_code} {_nature(response)}; is it an Unroll server?"
        )
    message = " ".join(str(found["error"]).split())[:_MAX_MESSAGE_CHARACTERS]
    if response.status_code in _REFUSED and not _is_about_parameters(found):
        raise RefusedInput(message)
    if response.status_code == UNAUTHORIZED:
        message += "; the command line sends the key in UNROLL_API_KEY"
    raise UnrollError(message)


def _is_about_parameters(found: dict[str, Any]) -> bool:
    """Whether another input would be refused in the same way."""
    details = found.get("detail")
    fields = (
        [detail.get("field") for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    )
    return any(str(field).removeprefix("body.").startswith("parameters") for field in fields)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _nature(response: httpx.Response) -> str:
    """What an answer is that is no JSON object."""
    if not response.content:
        return "without content"
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "text/html" or response.text.lstrip()[:1] == "<":
        return "with a web page"
    return f"with {kind or 'an unknown kind of content'}: {response.text[:40].strip()!r}"
