"""The group of worker processes to which this process belongs, when several serve one port."""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SECRET_BYTES = 32


@dataclass(frozen=True)
class WorkerGroup:
    """One worker's place among those that share a port.

    Attributes:
        index: This worker, from 0.
        count: How many workers there are.
        folder: A private folder in memory for what they share. The supervisor makes and removes it.
    """

    index: int
    count: int
    folder: Path

    def secret(self) -> str:
        """A random text that all workers of the group have, and nobody else. The first one who asks makes it.

        Raises:
            OSError: the folder has no room, or is not there.
        """
        path = self.folder / "secret"
        if not path.exists():
            self._make_secret(path)
        return path.read_text(encoding="ascii")

    def _make_secret(self, path: Path) -> None:
        """Write the file beside and link it, which only one worker can: so it is there whole, or not at all."""
        descriptor, staged = tempfile.mkstemp(dir=self.folder, prefix=".secret-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(_SECRET_BYTES))
            os.link(staged, path)
        except FileExistsError:
            pass  # another worker was faster
        finally:
            Path(staged).unlink()
