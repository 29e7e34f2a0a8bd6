"""What others notice of an attack: memory of the server, and latency of a liveness check and of a small request."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

_EVERY_S = 0.1
_PATIENCE_S = 30.0
_KB_PER_MB = 1024


@dataclass
class Latency:
    """The worst latency of one request that is repeated."""

    payload: bytes
    worst_s: float = 0.0
    answered: int = 0
    failed: int = 0

    async def repeat(self, port: int, over: asyncio.Event) -> None:
        """Ask on a new connection each time, as a liveness check does, until it is over."""
        while not over.is_set():
            began_s = time.perf_counter()
            good = await _is_answered(port, self.payload)
            self.worst_s = max(self.worst_s, time.perf_counter() - began_s)
            self.answered += good
            self.failed += not good
            await asyncio.sleep(_EVERY_S)


async def _is_answered(port: int, payload: bytes) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(payload)
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except OSError:  # TimeoutError is one too
        return False


def resident_mb(pid: int, field: str = "VmRSS") -> float | None:
    """Resident memory now, or the peak with `VmHWM`; None if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / _KB_PER_MB for line in lines if line.startswith(f"{field}:")), None)
