"""Load over TLS: certificates are checked, and those of the client are shown."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from service.cli.bench.load.address import TlsOptions, parse_address
from service.cli.bench.load.connection import fetch
from service.errors import UnrollError
from tests.cli.bench.tiny_server import answer, serving
from tests.tls.certificates import Authority


async def at_once(head: str, number: int) -> bytes:
    return answer(b'{"over": "TLS"}')


def test_certificates_of_both_sides_are_checked(tmp_path: Path) -> None:
    """An unknown authority is named as the reason; with it, or without the check, the answer comes."""
    authority = Authority(tmp_path / "authority")
    server, client = authority.sign("server"), authority.sign("client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.cert)
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def run(options: TlsOptions) -> bytes:
        async with serving(at_once, tls=context) as plain:
            address = parse_address(f"https://127.0.0.1:{plain.port}", options, {})
            return (await fetch(address, address.get("/models"))).body

    own = {"cert_file": client.cert, "key_file": client.key}
    assert asyncio.run(run(TlsOptions(ca_file=authority.cert, **own))) == b'{"over": "TLS"}'
    assert asyncio.run(run(TlsOptions(insecure=True, **own))) == b'{"over": "TLS"}'
    with pytest.raises(UnrollError, match="the certificate is not trusted"):
        asyncio.run(run(TlsOptions(**own)))
