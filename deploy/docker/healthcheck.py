"""Health check of the container: exit status 0 if the service is ready.

It runs every few seconds, so it imports little and takes a few milliseconds.
"""

from __future__ import annotations

import os
import socket
import sys

_TIMEOUT_S = 2.0
_QUESTION = b"GET /health/ready HTTP/1.0\r\n\r\n"


def is_ready(port: int) -> bool:
    """Whether `/health/ready` answers with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
            connection.sendall(_QUESTION)
            status_line = connection.recv(64)
    except OSError:
        return False
    return status_line.split(b" ")[1:2] == [b"200"]


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("UNROLL_PORT", "8000"))))
