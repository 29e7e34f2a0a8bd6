"""Ports for servers that tests start as separate processes."""

from __future__ import annotations

import random
import socket

#: Below the ephemeral port range, so that no outgoing connection takes the port in the meantime.
_PORTS = range(10_000, 32_000)


def free_port() -> int:
    """A random port on which nothing listens; random so that concurrent test runs do not collide."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
