"""A catalogue: a JSON or TOML file at an address, which names bundles with their addresses and digests.

[[bundles]]
name = "ner-en"
version = "1"
address = "https://models.example.org/ner-en/1"
digest = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
task = "tagging"
language = "en"
licence = "CC-BY-4.0"
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.bundle.manifest import NAME_PATTERN, VERSION_PATTERN
from service.errors import HubError
from service.hub.address import Address, is_address, parse_address, parse_digest
from service.hub.pull import Expected
from service.hub.receive import Receiver
from service.hub.store import Transport
from service.hub.stores.opening import open_store

_MAX_BYTES = 4 * 1024 * 1024


def _checked_address(text: str) -> str:
    try:
        parse_address(text)
    except HubError as error:
        raise ValueError(str(error)) from error
    return text


class CatalogueEntry(BaseModel):
    """One bundle. What else is said of it must be what its manifest says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(default="1", pattern=VERSION_PATTERN)
    address: Annotated[str, AfterValidator(_checked_address)]
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="sha256 of manifest.json")
    task: str = ""
    language: str = ""
    licence: str = ""
    description: str = ""

    @property
    def expected(self) -> Expected:
        """What the bundle must be."""
        return Expected(
            parse_digest(self.digest), self.name, self.version, self.task, language=self.language, licence=self.licence
        )


class Catalogue(BaseModel):
    """The bundles of a catalogue, in its order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundles: tuple[CatalogueEntry, ...] = Field(max_length=10_000)

    def find(self, name: str) -> CatalogueEntry:
        """The entry of `NAME`, of its highest version, or of `NAME@VERSION`. Raises HubError."""
        model, _, version = name.partition("@")
        found = [entry for entry in self.bundles if entry.name == model and version in ("", entry.version)]
        if not found:
            names = [f"{entry.name}@{entry.version}" for entry in self.bundles]
            near = difflib.get_close_matches(name, [*names, *(entry.name for entry in self.bundles)], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names[:50]) or 'none'}"
            raise HubError(f"the catalogue has no bundle {name[:100]!r}; {hint}")
        return max(found, key=lambda entry: int(entry.version))


def read_catalogue(source: str, transport: Transport) -> Catalogue:
    """Read a catalogue from an address, or from a file of this machine.

    Raises:
        NotThere, Unreachable, HubError: it cannot be read, or is no catalogue.
    """
    address = parse_address(source if is_address(source) else Path(source).absolute().as_uri())
    if address.scheme == "http" and not address.is_loopback:
        raise HubError(f"{address}: by http anybody on the way can give another catalogue: use https")
    content = _content(address, transport)
    try:
        values = tomllib.loads(content.decode()) if address.path.endswith(".toml") else json.loads(content)
        return Catalogue.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise HubError(f"{address}: {where}: {problem['msg'].removeprefix('Value error, ')}") from error
    except (ValueError, RecursionError) as error:
        raise HubError(f"{address}: is no {'TOML' if address.path.endswith('.toml') else 'JSON'}: {error}") from error


def _content(address: Address, transport: Transport) -> bytes:
    folder, name = address.file_in_parent()
    with TemporaryDirectory() as temporary, open_store(folder, transport) as store:
        received = Path(temporary, "catalogue")
        Receiver(store, folder, transport, _MAX_BYTES).receive(name, received, _MAX_BYTES)
        return received.read_bytes()
