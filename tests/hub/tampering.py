"""Bundles as an attacker would offer them: what they say of themselves is consistent, and its seal is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.bundle.load import MANIFEST_FILE, file_digest, read_manifest
from service.bundle.seal import content_of, seal
from service.hub.address import Address, parse_address
from tests.hub.servers import WebServer


def reseal(bundle: Path, **changes: Any) -> str:
    """Change fields of a manifest, with a new seal; returns its digest."""
    manifest = read_manifest(bundle).model_copy(update=changes)
    (bundle / MANIFEST_FILE).write_bytes(content_of(seal(manifest)))
    return file_digest(bundle / MANIFEST_FILE)


def name_more_files(bundle: Path, files: Mapping[str, str]) -> str:
    """Name more files in a manifest."""
    return reseal(bundle, files={**read_manifest(bundle).files, **files})


def at(server: WebServer, ending: str = "") -> Address:
    """The address of the bundle on a web server."""
    return parse_address(f"http://{server.host}/tiny/3{ending}")


def nothing_is_left(models_root: Path) -> bool:
    """Whether a models folder is empty, hidden folders included."""
    return not models_root.exists() or not list(models_root.iterdir())
