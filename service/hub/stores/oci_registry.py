"""A repository of an OCI registry (distribution specification 1.1): each file of a bundle is a layer with its name.

The layers have the annotation of ORAS, so that its command line pulls bundles as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urljoin

import httpx
from pydantic import BaseModel, Field, ValidationError

from service.bundle.load import file_digest
from service.errors import HubError, NotThere
from service.hub.address import Address
from service.hub.store import PIECE_BYTES, RemoteFile, Transport
from service.hub.stores.http_calls import explained, open_client, remote_file, require_success
from service.hub.stores.registry_auth import RegistryAuth
from service.hub.stores.web_folder import pieces_of

ARTIFACT_TYPE: Final = "application/vnd.unroll.bundle.v1"
_MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_TITLE: Final = "org.opencontainers.image.title"
_EMPTY_CONFIG: Final = b"{}"
_MAX_MANIFEST_BYTES: Final = 4 * PIECE_BYTES
_DEFAULT_TAG: Final = "latest"


class _Layer(BaseModel):
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0)
    annotations: dict[str, str] = {}


class _ImageManifest(BaseModel):
    layers: list[_Layer] = Field(max_length=1000)


class OciRegistry:
    """The files behind a tag or a digest of a repository."""

    def __init__(self, address: Address, transport: Transport) -> None:
        self._address = address
        host = {"docker.io": "registry-1.docker.io"}.get(address.host, address.host)
        is_plain = address.is_loopback
        self._base = f"{'http' if is_plain else 'https'}://{host}/v2/{address.path}"
        self._client = open_client(transport, allows_plain=is_plain)
        self._auth = RegistryAuth(host)
        self._layers: dict[str, _Layer] | None = None

    @contextmanager
    def read(self, name: str) -> Iterator[RemoteFile]:
        if self._layers is None:
            self._layers = self._read_layers()
        layer = self._layers.get(name)
        if layer is None:
            raise NotThere(f"{self._address}: {name}: there is no such file")
        what = f"{self._address}: {name}"
        with self._opened("GET", f"blobs/{layer.digest}", what) as response:
            opened = remote_file(response, what, self._address)
            if opened.size_bytes not in (None, layer.size):
                raise HubError(f"{what}: has {opened.size_bytes:,} bytes, and should have {layer.size:,}")
            yield RemoteFile(layer.size, opened.pieces)

    @contextmanager
    def _opened(
        self,
        method: str,
        url: str | httpx.URL,
        what: str,
        headers: dict[str, str] | None = None,
        content: Callable[[], bytes | Iterator[bytes]] | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request, once more if the registry asks who it is; `url` may be that below the repository.

        Raises Unreachable, HubError; a status is for the caller.
        """
        full = url if isinstance(url, httpx.URL) else httpx.URL(f"{self._base}/{url}")
        with explained(what):
            for is_last in (False, True):
                sent = {**(headers or {}), **self._auth.headers}
                body = content() if content is not None else None
                follows = method in ("GET", "HEAD")
                with self._client.stream(
                    method, full, headers=sent, content=body, follow_redirects=follows
                ) as response:
                    challenge = self._auth.challenge_in(response)
                    if is_last or not challenge:
                        yield response
                        return
                self._auth.answer(challenge, self._client)

    def _read_layers(self) -> dict[str, _Layer]:
        """The files of the repository by name. Raises NotThere, Unreachable, HubError."""
        content = self._image_manifest()
        if self._address.digest and hashlib.sha256(content).hexdigest() != self._address.digest:
            raise HubError(f"{self._address}: the registry gave another manifest than that of this digest")
        try:
            layers = _ImageManifest.model_validate_json(content).layers
        except ValidationError as error:
            raise HubError(f"{self._address}: is no bundle, but something else: {error.errors()[0]['msg']}") from error
        named = {layer.annotations[_TITLE]: layer for layer in layers if _TITLE in layer.annotations}
        if len(named) != len(layers):
            raise HubError(f"{self._address}: is no bundle: it has files without names, or two of one name")
        return named

    def _image_manifest(self) -> bytes:
        reference = f"sha256:{self._address.digest}" if self._address.digest else self._address.revision or _DEFAULT_TAG
        what = f"{self._address}"
        with self._opened("GET", f"manifests/{reference}", what, {"accept": _MANIFEST_TYPE}) as response:
            content = b""
            for piece in remote_file(response, what, self._address).pieces:
                content += piece
                if len(content) > _MAX_MANIFEST_BYTES:
                    raise HubError(f"{what}: a manifest of more than {_MAX_MANIFEST_BYTES:,} bytes")
        return content

    def write(self, files: Mapping[str, Path]) -> None:
        """Write the files as blobs, then the manifest that makes them one artifact."""
        if self._address.digest:
            raise HubError(f"{self._address}: what is pushed gets its digest then: give a tag alone")
        layers = []
        for name, path in files.items():
            digest, size = f"sha256:{file_digest(path)}", path.stat().st_size
            with path.open("rb") as file:
                self._upload(name, digest, size, partial(_from_the_beginning, file))
            layers.append(_descriptor("application/octet-stream", digest, size) | {"annotations": {_TITLE: name}})
        config = f"sha256:{hashlib.sha256(_EMPTY_CONFIG).hexdigest()}"
        self._upload("config", config, len(_EMPTY_CONFIG), lambda: _EMPTY_CONFIG)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor("application/vnd.oci.empty.v1+json", config, len(_EMPTY_CONFIG)),
            "layers": layers,
        }
        content, what = json.dumps(manifest).encode(), f"{self._address}"
        url = f"manifests/{self._address.revision or _DEFAULT_TAG}"
        with self._opened("PUT", url, what, {"content-type": _MANIFEST_TYPE}, lambda: content) as response:
            require_success(response, what, self._address)
        self._layers = None

    def _upload(self, name: str, digest: str, size: int, content: Callable[[], bytes | Iterator[bytes]]) -> None:
        """Write a blob unless it is there."""
        what = f"{self._address}: {name}"
        with self._opened("HEAD", f"blobs/{digest}", what) as there:
            if there.status_code == 200:
                return
        with self._opened("POST", "blobs/uploads/", what, {"content-length": "0"}) as begun:
            require_success(begun, what, self._address)
            target = self._upload_url(begun, digest, what)
        headers = {"content-length": str(size), "content-type": "application/octet-stream"}
        with self._opened("PUT", target, what, headers, content) as done:
            require_success(done, what, self._address)

    def _upload_url(self, begun: httpx.Response, digest: str, what: str) -> httpx.URL:
        url = httpx.URL(urljoin(str(begun.url), begun.headers.get("location", "")))
        if (url.scheme, url.netloc) != (begun.url.scheme, begun.url.netloc):
            raise HubError(f"{what}: the registry wants it sent to another host, {url.host}: refused")
        return url.copy_merge_params({"digest": digest})

    def close(self) -> None:
        self._client.close()


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _from_the_beginning(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file, from its beginning at each call: a request may be sent twice."""
    file.seek(0)
    return pieces_of(file)
