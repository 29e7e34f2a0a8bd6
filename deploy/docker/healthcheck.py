"""Health check of the container: exit status 0 if the service is ready.

It runs every few seconds, so it imports little and takes a few milliseconds. Where the service speaks TLS, so does
this, with the certificate of the service where clients need one (`UNROLL_TLS_CLIENT_CA` must accept it).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

_TIMEOUT_S = 2.0
_QUESTION = b"GET /health/ready HTTP/1.0\r\n\r\n"


def is_ready(port: int, settings: Mapping[str, str] = os.environ) -> bool:
    """Whether `/health/ready` answers with 200."""
    try:
        opened = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        with _secured(opened, settings) if settings.get("UNROLL_TLS_CERT") else opened as connection:
            connection.sendall(_QUESTION)
            status_line = connection.recv(64)
    except OSError:
        return False
    return status_line.split(b" ")[1:2] == [b"200"]


def _secured(connection: socket.socket, settings: Mapping[str, str]) -> socket.socket:
    """The connection with TLS, in its place. It does not leave the machine, so the certificate is not checked."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.get("UNROLL_TLS_CLIENT_CA"):
        context.load_cert_chain(settings["UNROLL_TLS_CERT"], settings.get("UNROLL_TLS_KEY") or None)
    return context.wrap_socket(connection)


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("UNROLL_PORT", "8000"))))
