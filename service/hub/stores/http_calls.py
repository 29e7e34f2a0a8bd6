"""HTTP for stores: bounded redirects, no credentials for other hosts, no compression, and errors in plain words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from service.errors import HubError, NotThere, Unreachable
from service.hub.address import Address
from service.hub.store import PIECE_BYTES, RemoteFile, Transport

_MAX_REDIRECTS = 5
#: They may succeed later: too many requests, and faults of a server.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CREDENTIALS = {
    "hf": "set HF_TOKEN, or run `hf auth login`",
    "oci": "run `docker login` for this host",
}
_IN_NETRC = "put them into ~/.netrc, or the file that NETRC names"


def open_client(
    transport: Transport,
    *,
    allows_plain: bool,
    headers: dict[str, str] | None = None,
    auth: httpx.Auth | None = None,
) -> httpx.Client:
    """A client that follows redirects to HTTPS alone, and to plain HTTP only where the address is one of it.

    Credentials are not sent to another host after a redirect: httpx drops the header.
    """

    def guard(request: httpx.Request) -> None:
        if request.url.scheme != "https" and not (allows_plain and request.url.scheme == "http"):
            raise HubError(f"leads to {str(request.url.copy_with(query=None))[:200]}, which is not https: refused")

    seconds = httpx.Timeout(transport.timeout_s, connect=transport.connect_timeout_s)
    return httpx.Client(
        timeout=seconds,
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        headers={"accept-encoding": "identity", "user-agent": "unroll", **(headers or {})},
        auth=auth,
        event_hooks={"request": [guard]},
    )


def netrc_auth() -> httpx.Auth | None:
    """Credentials of hosts in the user's netrc file, if there is one. Raises HubError."""
    path = Path(os.environ.get("NETRC") or os.path.expanduser("~/.netrc"))  # noqa: PTH111 - a user may have no home
    if not path.is_file():
        return None
    try:
        return httpx.NetRCAuth(str(path))
    except (OSError, SyntaxError) as error:
        raise HubError(f"{path}: cannot be read as a netrc file: {error}") from error


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns errors of httpx into those of the hub; `what` says what was asked for."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unreachable(f"{what}: no answer in time ({type(error).__name__})") from error
    except httpx.TooManyRedirects as error:
        raise HubError(f"{what}: more than {_MAX_REDIRECTS} redirects") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise HubError(f"{what}: {error}") from error
    except (httpx.TransportError, httpx.StreamError) as error:
        raise Unreachable(f"{what}: {str(error) or type(error).__name__}") from error
    except HubError as error:
        if str(error).startswith("leads to "):
            raise HubError(f"{what}: {error}") from error
        raise


@contextmanager
def reading(client: httpx.Client, url: str, what: str, address: Address) -> Iterator[RemoteFile]:
    """GET a file. Raises NotThere, Unreachable, HubError."""
    with explained(what), client.stream("GET", url) as response:
        yield remote_file(response, what, address)


def remote_file(response: httpx.Response, what: str, address: Address) -> RemoteFile:
    """The file that a response brings. Raises NotThere, Unreachable, HubError."""
    require_success(response, what, address)
    if response.headers.get("content-encoding", "identity") not in ("identity", ""):
        raise HubError(f"{what}: came compressed, which was not asked for")
    length = response.headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    return RemoteFile(size, _pieces(response, what))


def _pieces(response: httpx.Response, what: str) -> Iterator[bytes]:
    with explained(what):
        yield from response.iter_raw(PIECE_BYTES)


def require_success(response: httpx.Response, what: str, address: Address) -> None:
    """Raises NotThere, Unreachable or HubError for a status that is not 2xx."""
    status = response.status_code
    if response.is_success:
        return
    if status in (404, 410):
        raise NotThere(f"{what}: there is no such file ({status})")
    if status in (401, 403):
        hint = _CREDENTIALS.get(address.scheme, _IN_NETRC)
        raise HubError(f"{what}: not allowed ({status}). If it needs credentials: {hint}")
    kind = Unreachable if status in _TRANSIENT else HubError
    raise kind(f"{what}: the server answered {status} {response.reason_phrase}".rstrip())
