"""Trusted proxies: whose `X-Forwarded-*` or `Forwarded` is believed, and the address of the client behind them.

Anyone can send such a header. It is read only where the connection comes from an address that the settings name, and of
several addresses in `X-Forwarded-For` the last one that is no such proxy counts: what stands before it was sent by the
client, which may have made it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from service.api.request_scope import Headers
from service.server.edge.forwarded_header import forwarded_elements
from service.settings import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORWARDED_FOR = b"x-forwarded-for"
_EVERYONE = "0.0.0.0/0,::/0"
_MAX_HOPS = 32
_REMEMBERED_PEERS = 4096


class TrustedProxies:
    """The proxies that the settings name."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        #: Does a connection from this address come from such a proxy? Empty addresses are of unknown clients.
        self.trusts = lru_cache(_REMEMBERED_PEERS)(self._trusts)

    @classmethod
    def of(cls, setting: str) -> TrustedProxies:
        """From `UNROLL_TRUSTED_PROXIES`. Raises SettingsError."""
        names = {"": "", "none": "", "*": _EVERYONE}.get(setting.strip().lower(), setting)
        return cls([_network(name.strip()) for name in names.split(",") if name.strip()])

    def client_of(self, peer: str, headers: Headers) -> str:
        """The address of the client whose request came over a connection from `peer`."""
        if not self._networks or not self.trusts(peer):
            return peer
        client = peer
        for hop in _hops(headers):
            address = _address(hop)
            if address is None:  # "unknown", or nonsense: what stands before it is no better
                break
            client = str(address)
            if not self._has(address):
                break
        return client

    def _trusts(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and self._has(address)

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _network(name: str) -> Network:
    try:
        return ip_network(name, strict=False)
    except ValueError:
        raise SettingsError(
            f"UNROLL_TRUSTED_PROXIES: {name!r} is neither an address nor a network; "
            "write 10.0.0.5 or 10.0.0.0/8, separated by commas, or none"
        ) from None


def _hops(headers: Headers) -> Iterable[str]:
    """The addresses in the headers, the one that the nearest proxy added first."""
    values = [value for name, value in headers if name == _FORWARDED_FOR]
    if not values:
        return (element.get("for", "") for element in forwarded_elements(headers))
    hops = b",".join(values).rsplit(b",", _MAX_HOPS)
    return (hop.decode("latin-1").strip() for hop in reversed(hops))


def _address(text: str) -> Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` and `[2001:db8::1]:443`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
