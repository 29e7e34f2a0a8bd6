"""Credentials for an OCI registry: tokens as the distribution specification has them, for users of `docker login`."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import httpx

from service.errors import HubError
from service.hub.address import is_loopback

_MAX_TOKEN_BYTES = 1 << 20
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DOCKER_HUB = "https://index.docker.io/v1/"


class RegistryAuth:
    """Answers the challenge of a registry with a token, or with name and password.

    Only a challenge of the registry itself is answered, not one of a host to which it redirected; and name and password
    are sent to no host outside of its domain.
    """

    def __init__(self, host: str) -> None:
        """`host` is that of the registry, with its port."""
        self._host = host
        self._header = ""

    @property
    def headers(self) -> dict[str, str]:
        """What requests to the registry need. A redirect to another host loses it."""
        return {"authorization": self._header} if self._header else {}

    def challenge_in(self, response: httpx.Response) -> str:
        """The challenge in an answer of the registry; "" if there is none."""
        is_asked = response.status_code == 401 and _host_of(response.url) == self._host
        return response.headers.get("www-authenticate", "") if is_asked else ""

    def answer(self, challenge: str, client: httpx.Client) -> None:
        """Get what the challenge asks for, for the next requests. Raises HubError."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            self._header = _basic(self._host)
        elif scheme.lower() == "bearer":
            self._header = f"Bearer {self._token(client, dict(_CHALLENGE.findall(rest)))}"

    def _token(self, client: httpx.Client, challenge: dict[str, str]) -> str:
        realm = httpx.URL(challenge.get("realm", ""))
        if realm.scheme != "https" and not (realm.scheme == "http" and is_loopback(realm.host)):
            raise HubError(f"oci://{self._host}: wants a token of {str(realm)[:200]}, which is not https: refused")
        wanted = {name: value for name, value in challenge.items() if name in ("service", "scope")}
        known = _basic(self._host) if _is_same_domain(realm, self._host) else ""
        headers = {"authorization": known} if known else {}
        with client.stream("GET", realm.copy_merge_params(wanted), headers=headers) as response:
            return _token_in(response)


def _token_in(response: httpx.Response) -> str:
    if response.status_code != 200:
        raise HubError(f"{response.url.host}: gave no token ({response.status_code}): run `docker login` for this host")
    content = b""
    for piece in response.iter_raw():
        content += piece
        if len(content) > _MAX_TOKEN_BYTES:
            raise HubError(f"{response.url.host}: gave no token, but more than {_MAX_TOKEN_BYTES:,} bytes")
    try:
        answer = json.loads(content)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError, RecursionError) as error:
        raise HubError(f"{response.url.host}: gave no token: {error}") from error
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise HubError(f"{response.url.host}: gave no token")
    return token


def _host_of(url: httpx.URL) -> str:
    return url.netloc.decode("ascii", "replace").lower()


def _is_same_domain(url: httpx.URL, host: str) -> bool:
    """Whether a URL is of the host, or shares the last two parts of its name, as auth.docker.io and docker.io do."""
    name = host.partition(":")[0]
    if is_loopback(name) or name.replace(".", "").isdigit():
        return _host_of(url) == host
    return url.host.split(".")[-2:] == name.split(".")[-2:]


def _basic(host: str) -> str:
    """The header with name and password that `docker login` wrote for the host; "" if there are none."""
    path = Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")  # noqa: PTH111 - see netrc
    try:
        config: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise HubError(f"{path}: cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise HubError(f"{path}: is no object in JSON")
    key = _DOCKER_HUB if host == "registry-1.docker.io" else host
    auths = config.get("auths")
    entry = auths.get(key) if isinstance(auths, dict) else None
    secret = entry.get("auth") if isinstance(entry, dict) else None
    if isinstance(secret, str) and secret:
        base64.b64decode(secret)
        return f"Basic {secret}"
    if entry is not None and (config.get("credsStore") or config.get("credHelpers")):
        hint = "they are needed in the file itself (docker login without credsStore)"
        raise HubError(f"{path}: the credentials for {host} are kept by a helper program: {hint}")
    return ""
