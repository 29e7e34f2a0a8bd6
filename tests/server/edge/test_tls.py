"""TLS and client certificates: what is served, what is refused, and what stops the start."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.server.edge.tls import Tls, TlsFiles
from service.settings import Settings, SettingsError
from tests.certificates import Authority, Signed
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer, live_server

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
GENERATE = {"inputs": "a", "parameters": {"max_new_tokens": 5}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    return authority.sign("server")


@pytest.fixture(scope="module")
def server(tiny_models: Path, signed: Signed) -> Iterator[LiveServer]:
    options = {"tls_cert": str(signed.cert), "tls_key": str(signed.key), "head_timeout_s": 1.0, "max_connections": 20}
    with live_server(tiny_models, **options) as started:
        yield started


def trusting(authority: Authority, own: Signed | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


def client_of(server: LiveServer, context: ssl.SSLContext) -> httpx.Client:
    return httpx.Client(base_url=f"https://localhost:{server.port}", verify=context, timeout=PATIENCE_S)


def test_everything_is_served_over_tls(server: LiveServer, authority: Authority) -> None:
    """The fast path too, and links and redirects say https."""
    server.short_paths.clear()
    with client_of(server, trusting(authority)) as client:
        assert client.post("/predict", json=TAG).json()["predictions"]
        assert server.short_paths == ["/predict"]
        with client.stream("POST", "/generate_stream", json=GENERATE) as stream:
            assert stream.read().count(b"data:") == 5
        assert client.get("/docs/").headers["location"] == f"https://localhost:{server.port}/docs"
        assert client.post("/predict", content=b" " * 3_000_000).status_code == 413


def test_what_is_no_tls_is_closed_and_harms_nobody(server: LiveServer, authority: Authority) -> None:
    for sent in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01garbage", b"\0" * 5_000):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
            plain.sendall(sent)
            plain.settimeout(PATIENCE_S)
            try:
                while plain.recv(1_000):
                    pass
            except ConnectionResetError:
                pass
    with client_of(server, trusting(authority)) as client:
        assert client.get("/health/live").status_code == 200


def test_handshakes_count_as_connections_and_make_room(server: LiveServer, authority: Authority) -> None:
    """Clients that connect and never say a word take no room from others, and are closed in time."""
    ended = "unroll_connections_ended_total"
    before = server.metric(ended, reason="timeout")
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        with client_of(server, trusting(authority)) as client:
            assert client.post("/predict", json=TAG).status_code == 200
        assert server.metric("unroll_connections") <= 20
        assert server.metric(ended, reason="too_many_connections") >= 40
        wait_until(lambda: server.metric("unroll_connections") == 0)
    assert server.metric(ended, reason="timeout") > before


def test_old_versions_of_tls_are_refused(server: LiveServer, authority: Authority) -> None:
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        client_of(server, context).get("/health/live")


def test_client_certificates_are_required_where_an_authority_is_set(
    tiny_models: Path, signed: Signed, authority: Authority, tmp_path: Path
) -> None:
    """Without one, or with one of another authority, no request is read."""
    options = {"tls_cert": str(signed.both), "tls_client_ca": str(authority.cert)}
    with live_server(tiny_models, **options) as server:
        with client_of(server, trusting(authority, authority.sign("client"))) as client:
            assert client.post("/predict", json=TAG).status_code == 200
        for own in (None, Authority(tmp_path / "other").sign("client")):
            with client_of(server, trusting(authority, own)) as client, pytest.raises(httpx.TransportError):
                client.post("/predict", json=TAG)
        assert server.short_paths == ["/predict"]


def files_that_cannot_be_used(signed: Signed, authority: Authority, folder: Path) -> dict[str, tuple[Any, ...]]:
    absent, text = folder / "absent.pem", folder / "text.pem"
    text.write_text("this is no certificate")
    broken = folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    cert, key, locked = signed.cert, signed.key, authority.sign("locked", b"secret")
    return {
        "no such certificate": (absent, key, "", f"UNROLL_TLS_CERT: cannot read {absent}: No such file"),
        "no such key": (cert, absent, "", f"UNROLL_TLS_KEY: cannot read {absent}: No such file"),
        "a folder": (folder, key, "", f"UNROLL_TLS_CERT: cannot read {folder}: Is a directory"),
        "no certificate": (text, key, "", "UNROLL_TLS_CERT: there is no certificate in"),
        "no key": (cert, text, "", "UNROLL_TLS_KEY: there is no private key in"),
        "no key at all": (cert, "", "", "UNROLL_TLS_KEY is not set, and there is no private key in"),
        "the key for the certificate": (key, cert, "", "UNROLL_TLS_CERT: there is no certificate in"),
        "a broken certificate": (broken, key, "", "UNROLL_TLS_KEY: .*broken.pem and .* cannot be used"),
        "the key of another": (cert, authority.sign("another").key, "", "is not that of the certificate"),
        "a passphrase": (locked.cert, locked.key, "", "has a passphrase"),
        "a key alone": ("", key, "", "UNROLL_TLS_KEY needs UNROLL_TLS_CERT"),
        "an authority alone": ("", "", cert, "UNROLL_TLS_CLIENT_CA needs UNROLL_TLS_CERT"),
        "no such authority": (cert, key, absent, f"UNROLL_TLS_CLIENT_CA: cannot read {absent}"),
        "no authority": (cert, key, text, "UNROLL_TLS_CLIENT_CA: there is no certificate in"),
    }


def test_files_that_cannot_be_used_stop_the_start(signed: Signed, authority: Authority, tmp_path: Path) -> None:
    """With the name of the setting and of the file, before anything is listened on."""
    for cert, key, client_ca, message in files_that_cannot_be_used(signed, authority, tmp_path).values():
        settings = Settings(tls_cert=str(cert), tls_key=str(key), tls_client_ca=str(client_ca), models_dir=tmp_path)
        with pytest.raises(SettingsError, match=message):
            Tls.of(settings)

    settings_of_another = {"UNROLL_TLS_CERT": str(signed.cert), "UNROLL_TLS_KEY": str(authority.sign("third").key)}
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, **settings_of_another}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "is not that of the certificate" in done.stderr
    assert "Traceback" not in done.stderr


def test_renewed_files_are_taken_over(tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart; files that cannot be used change nothing, and are named in the log once."""
    first, second = authority.sign("first"), authority.sign("second")
    cert, key, now = tmp_path / "cert.pem", tmp_path / "key.pem", [0.0]

    def install(signed: Signed, stamp: int) -> None:
        for source, target in ((signed.cert, cert), (signed.key, key)):
            target.write_bytes(source.read_bytes())
            os.utime(target, (stamp, stamp))

    install(first, 1)
    tls = Tls(TlsFiles(cert, key, None), clock=lambda: now[0])
    assert subject_served(tls, authority) == "first"
    install(second, 2)
    tls.tick()
    assert subject_served(tls, authority) == "first"
    now[0] += 11.0
    tls.tick()
    assert subject_served(tls, authority) == "second"
    install(Signed(first.cert, second.key, first.both), 3)
    for _ in range(3):
        now[0] += 11.0
        tls.tick()
    assert subject_served(tls, authority) == "second"
    assert [record.levelname for record in caplog.records if record.name.endswith("tls")].count("ERROR") == 1


def subject_served(tls: Tls, authority: Authority) -> str:
    """The name in the certificate that a client is shown."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    served = tls.context.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(10):
        for side in (client, served):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    certificate: Any = client.getpeercert()
    return dict(part[0] for part in certificate["subject"])["commonName"]
