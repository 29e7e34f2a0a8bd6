"""Open the store of an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from service.hub.address import Address, Scheme
from service.hub.store import Store, Transport
from service.hub.stores.local_folder import LocalFolder
from service.hub.stores.object_store import ObjectStore
from service.hub.stores.oci_registry import OciRegistry
from service.hub.stores.web_folder import HuggingFaceFolder, WebFolder

_STORES: Final[dict[Scheme, Callable[[Address, Transport], Store]]] = {
    "file": lambda address, _: LocalFolder(address),
    "http": WebFolder,
    "https": WebFolder,
    "s3": ObjectStore,
    "hf": HuggingFaceFolder,
    "oci": OciRegistry,
}


@contextmanager
def open_store(address: Address, transport: Transport) -> Iterator[Store]:
    """The store, closed in the end. Raises HubError where a library for it is missing."""
    store = _STORES[address.scheme](address, transport)
    try:
        yield store
    finally:
        store.close()
