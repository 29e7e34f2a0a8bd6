"""The address of a server under load, and its requests as bytes on the wire."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from service.errors import UnrollError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Host, port and path prefix of a server; `tls` for HTTPS; `headers` go with every request."""

    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{self.prefix}"

    def get(self, path: str) -> bytes:
        """A GET request."""
        return self._head("GET", path) + b"\r\n"

    def post(self, path: str, body: Any) -> bytes:
        """A POST request with a JSON body; its connection stays open."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        head = self._head("POST", path)
        return b"%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (head, len(content), content)

    def _head(self, method: str, path: str) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS["https" if self.tls else "http"] else f":{self.port}"
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"Host: {host}{port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


@dataclass(frozen=True)
class TlsOptions:
    """How certificates are checked, and the certificate of the client itself."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises UnrollError where a file is no certificate."""
        try:
            made = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                made.load_cert_chain(self.cert_file, self.key_file)
        except ssl.SSLError as error:
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            raise UnrollError(f"{files}: not a certificate in PEM, or not the key that belongs to it") from error
        if self.insecure:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made


def parse_address(url: str, tls: TlsOptions, headers: Mapping[str, str]) -> Address:
    """Read a base URL such as `http://127.0.0.1:8000` or `https://host/prefix`; without a scheme it is http.

    Raises:
        UnrollError: it is no such URL.
    """
    given = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:
        raise UnrollError(f"{url} is no URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise UnrollError(f"{url} is no URL of a server: write it as http://127.0.0.1:8000 or https://host/prefix")
    if parts.query or parts.fragment or parts.username:
        shown = f"{parts.scheme}://{parts.hostname}"  # without a password
        raise UnrollError(f"{shown}: give the base URL alone, without a user, a query or a fragment")
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise UnrollError(f"the header {name} has characters that no header can have")
    context = tls.context() if parts.scheme == "https" else None
    prefix = quote(parts.path.rstrip("/"), safe="/%~:@!$&'()*+,;=")
    return Address(_host(url, parts.hostname), port or _DEFAULT_PORTS[parts.scheme], prefix, context, headers)


def _host(url: str, name: str) -> str:
    """The name as it stands in a request: other alphabets in the form of international domain names."""
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UnrollError(f"{url} is no URL: {name} is no name of a host") from error
