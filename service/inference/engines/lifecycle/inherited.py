"""Bundles opened before a fork: workers inherit them from their supervisor, and share the memory of their weights.

A session of onnxruntime's CPU provider with one thread has no thread of its own, so that a process forked from the one
that opened it can run it. Its weights, also as they are packed for the kernels, its tokenizers and the modules behind
them are then the same pages of memory in all workers, as long as nobody writes to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from service.errors import BundleError
from service.inference.engines.bundle_entry import Fingerprint, WatchedFolder
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.inference.runtime.ort_runner import survives_fork
from service.inference.runtime.precision import WantedPrecision


class InheritedBundles:
    """Open bundles by folder, each with the fingerprint of its files when it was opened. Each is handed out once."""

    def __init__(self, opened: Mapping[Path, tuple[Fingerprint, OpenBundle]]) -> None:
        self._opened = dict(opened)

    def __len__(self) -> int:
        return len(self._opened)

    def take(self, path: Path, fingerprint: Fingerprint) -> OpenBundle | None:
        """The open bundle of this folder; None if there is none, or if its files have changed since."""
        known, opened = self._opened.pop(path, ((), None))
        return opened if known == fingerprint else None


#: What a process has that was not forked from one with open bundles.
NONE_INHERITED = InheritedBundles({})


def open_before_fork(folder: WatchedFolder, device: str, precision: WantedPrecision) -> InheritedBundles:
    """Open all bundles of the folder, for the processes that are forked next. It starts no threads.

    None are opened where a GPU or a provider with threads of its own would run them. A bundle that fails is left out:
    each worker opens it itself, and reports why it failed. The self-check is left to the workers, too.
    """
    opened: dict[Path, tuple[Fingerprint, OpenBundle]] = {}
    found = folder.scan().found if survives_fork(device, precision) else {}
    for path, fingerprint in found.items():
        try:
            bundle = open_bundle(path, device, precision=precision, link_roots=folder.link_roots)
        except BundleError:
            continue
        opened[path] = fingerprint, bundle
    return InheritedBundles(opened)
