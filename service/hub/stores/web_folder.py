"""Folders of web servers: files are read by GET and written by PUT, as WebDAV has it.

Repositories of Hugging Face are read in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import httpx

from service.distribution import install_hint
from service.errors import HubError
from service.hub.address import Address
from service.hub.store import PIECE_BYTES, RemoteFile, Transport
from service.hub.stores.http_calls import explained, netrc_auth, open_client, reading, require_success


class WebFolder:
    """The folder at a URL."""

    def __init__(self, address: Address, transport: Transport) -> None:
        self._address = address
        self._folder = f"{address.scheme}://{address.host}/{address.path}".rstrip("/")
        self._client = open_client(transport, allows_plain=address.scheme == "http", auth=netrc_auth())

    def read(self, name: str) -> AbstractContextManager[RemoteFile]:
        return reading(self._client, self._url(name), f"{self._address}: {name}", self._address)

    def write(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            with explained(f"{self._address}: {name}"), path.open("rb") as file:
                self._put(name, file, path.stat().st_size)

    def _put(self, name: str, file: BinaryIO, size: int) -> None:
        response = self._client.put(
            self._url(name),
            content=pieces_of(file),
            headers={"content-length": str(size), "content-type": "application/octet-stream"},
            follow_redirects=False,
        )
        if response.status_code in (404, 405, 409, 501):
            raise HubError(f"{self._address}: {name}: the server takes no files by PUT ({response.status_code})")
        require_success(response, f"{self._address}: {name}", self._address)

    def _url(self, name: str) -> str:
        return f"{self._folder}/{quote(name)}"

    def close(self) -> None:
        self._client.close()


class HuggingFaceFolder:
    """A folder in a repository of Hugging Face, read at a branch, a tag or a commit; written in one commit."""

    def __init__(self, address: Address, transport: Transport) -> None:
        try:
            from huggingface_hub import constants, get_token
        except ModuleNotFoundError as error:
            raise HubError(f"{address}: hf:// needs the extra hub: {install_hint('hub')}") from error

        self._address = address
        owner, name, *folder = address.path.split("/")
        self._repository, self._folder = f"{owner}/{name}", "/".join(folder)
        self._endpoint, self._token = constants.ENDPOINT, get_token()
        is_plain = self._endpoint.startswith("http://")
        if is_plain and not address_of_endpoint(self._endpoint).is_loopback:
            raise HubError(f"{address}: HF_ENDPOINT is {self._endpoint}, and must be https")
        headers = {"authorization": f"Bearer {self._token}"} if self._token else None
        self._client = open_client(transport, allows_plain=is_plain, headers=headers)

    def read(self, name: str) -> AbstractContextManager[RemoteFile]:
        path = f"{self._folder}/{name}".lstrip("/")
        revision = quote(self._address.revision or "main", safe="")
        url = f"{self._endpoint}/{self._repository}/resolve/{revision}/{quote(path)}"
        return reading(self._client, url, f"{self._address}: {name}", self._address)

    def write(self, files: Mapping[str, Path]) -> None:
        from huggingface_hub import CommitOperationAdd, HfApi

        prefix = f"{self._folder}/" if self._folder else ""
        added = [CommitOperationAdd(f"{prefix}{name}", str(path)) for name, path in files.items()]
        with _of_the_library(self._address):
            HfApi(self._endpoint, self._token).create_commit(
                self._repository,
                added,
                commit_message=f"Add {self._folder or 'a bundle'}",
                revision=self._address.revision or None,
            )

    def close(self) -> None:
        self._client.close()


def address_of_endpoint(url: str) -> Address:
    """The host of a URL as an address."""
    return Address("https", url.partition("://")[2].partition("/")[0], "")


@contextmanager
def _of_the_library(address: Address) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        yield
    except RepositoryNotFoundError as error:
        hint = "make it first, and set HF_TOKEN to a token that may write"
        raise HubError(f"{address}: there is no such repository, or it is not shown to you: {hint}") from error
    except (HfHubHTTPError, httpx.HTTPError, ValueError) as error:
        raise HubError(f"{address}: {str(error).splitlines()[0][:300]}") from error


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """The content of an opened file, piece by piece."""
    while piece := file.read(PIECE_BYTES):
        yield piece
