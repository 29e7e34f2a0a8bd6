"""TLS: the certificate of the service, its key, and the authorities of client certificates.

What is wrong with the files is said at start, by the name of the setting, and not when the first client connects.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_KEY_MARK = b"PRIVATE KEY-----"
_LOOK_EVERY_S = 10.0


class TlsFiles(NamedTuple):
    """The files of the settings. The key is in the file of the certificate if it has none of its own."""

    cert: Path
    key: Path
    client_ca: Path | None

    @property
    def changed_s(self) -> tuple[float, ...]:
        """When the files were changed; a file that is gone counts as unchanged."""
        files = (self.cert, self.key, self.client_ca)
        return tuple(file.stat().st_mtime for file in files if file is not None and file.exists())


class Pem(NamedTuple):
    """The contents of the files."""

    cert: bytes
    key: bytes
    client_ca: bytes | None


class Tls:
    """The TLS context of the service, which takes over renewed files without a restart."""

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError."""
        self._files = files
        self._clock = clock
        self._looked_s = clock()
        self._seen_s = files.changed_s
        self.context = _context(files)
        #: For servers that take no context; renewed with it.
        self.pem = _pem(files)

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """From `UNROLL_TLS_CERT`, `UNROLL_TLS_KEY` and `UNROLL_TLS_CLIENT_CA`; None without. Raises SettingsError."""
        if not settings.tls_cert:
            for name, value in (("UNROLL_TLS_KEY", settings.tls_key), ("UNROLL_TLS_CLIENT_CA", settings.tls_client_ca)):
                if value:
                    raise SettingsError(f"{name} needs UNROLL_TLS_CERT: the service has no certificate")
            return None
        cert = Path(settings.tls_cert)
        client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
        return cls(TlsFiles(cert, Path(settings.tls_key) if settings.tls_key else cert, client_ca))

    def tick(self) -> None:
        """Look for renewed files if it is time; call it several times a second."""
        if self._clock() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = self._clock()
            self.renew()

    def renew(self) -> None:
        """Read certificate and key again if they have changed: connections from now on get the new ones.

        Files that cannot be used change nothing, and are logged once.
        """
        seen_s = self._files.changed_s
        if seen_s == self._seen_s:
            return
        self._seen_s = seen_s
        try:
            _context(self._files)
            self.context.load_cert_chain(self._files.cert, self._files.key, _refuse_password)
            self.pem = _pem(self._files)
        except (SettingsError, OSError) as error:
            logger.error("TLS files have changed and cannot be used; the ones before are", extra={"reason": str(error)})
        else:
            logger.info("TLS certificate was read again")


def _pem(files: TlsFiles) -> Pem:
    client_ca = None if files.client_ca is None else _read("UNROLL_TLS_CLIENT_CA", files.client_ca)
    return Pem(_read("UNROLL_TLS_CERT", files.cert), _read("UNROLL_TLS_KEY", files.key), client_ca)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _check_certificate(files)
    try:
        context.load_cert_chain(files.cert, files.key, _refuse_password)
    except ssl.SSLError as error:
        _explain(error, files)
    if files.client_ca is not None:
        _require_client_certificates(context, files.client_ca)
    return context


def _check_certificate(files: TlsFiles) -> None:
    if b"BEGIN CERTIFICATE" not in _read("UNROLL_TLS_CERT", files.cert):
        raise SettingsError(f"UNROLL_TLS_CERT: there is no certificate in {files.cert}; it must be a PEM file")
    if _KEY_MARK in _read("UNROLL_TLS_KEY", files.key):
        return
    if files.key == files.cert:
        raise SettingsError(f"UNROLL_TLS_KEY is not set, and there is no private key in {files.cert} either")
    raise SettingsError(f"UNROLL_TLS_KEY: there is no private key in {files.key}; it must be a PEM file")


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from None


def _explain(error: ssl.SSLError, files: TlsFiles) -> NoReturn:
    if error.reason == "KEY_VALUES_MISMATCH":
        why = f"the key in {files.key} is not that of the certificate in {files.cert}"
    else:
        why = f"{files.cert} and {files.key} cannot be used: {error.reason or error}"
    raise SettingsError(f"UNROLL_TLS_KEY: {why}") from error


def _refuse_password() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise SettingsError(
        "UNROLL_TLS_KEY: the key has a passphrase, which cannot be asked for here; store it without one"
    )


def _require_client_certificates(context: ssl.SSLContext, path: Path) -> None:
    _read("UNROLL_TLS_CLIENT_CA", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise SettingsError(
            f"UNROLL_TLS_CLIENT_CA: there is no certificate in {path}; it must be a PEM file"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED
