"""Ports for servers that tests start as processes of their own."""

from __future__ import annotations

import random
import socket

#: Below the range from which systems take the ports of outgoing connections: none of those can take it meanwhile.
_PORTS = range(10_000, 32_000)


def free_port() -> int:
    """A port that nobody listens on, drawn at random: test runs beside this one draw others."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
