"""nginx, HAProxy and Caddy with the configurations that `deploy/` has, before a service of a test.

Only addresses and files of certificates are replaced in them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.certificates import Signed
from tests.conftest import PATIENCE_S, wait_until
from tests.ports import free_port
from tests.programs import find_program

DEPLOY = Path(__file__).parents[3] / "deploy"

_NGINX = """{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log info; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/unroll.conf;
}}
"""
_CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/storage\n}}\n"


class Command(NamedTuple):
    """How a proxy is started."""

    arguments: list[str]
    environment: Mapping[str, str] = {}


def nginx(folder: Path, service_port: int, port: int, signed: Signed) -> Command:
    program = find_program("nginx")
    replaced = _replaced(
        DEPLOY / "nginx" / "unroll.conf",
        {
            "127.0.0.1:8000": f"127.0.0.1:{service_port}",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/nginx/unroll.crt": str(signed.cert),
            "/etc/nginx/unroll.key": str(signed.key),
        },
    )
    (folder / "unroll.conf").write_text(replaced)
    user = "user root; " if os.geteuid() == 0 else ""  # else its workers could not write bodies there
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user))
    return Command([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])


def haproxy(folder: Path, service_port: int, port: int, signed: Signed) -> Command:
    program = find_program("haproxy")
    bind = f"bind 127.0.0.1:{port} ssl crt {signed.both} alpn h2,http/1.1"
    replaced = _replaced(
        DEPLOY / "haproxy" / "haproxy.cfg",
        {"# bind :443 ssl crt /etc/haproxy/unroll.pem alpn h2,http/1.1": bind},
    )
    (folder / "haproxy.cfg").write_text(replaced)
    places = {f"REPLICA_{number}": f"127.0.0.1:{service_port}" for number in (1, 2, 3)}
    return Command(
        [program, "-db", "-f", str(folder / "haproxy.cfg")], {"GATEWAY": f"127.0.0.1:{free_port()}", **places}
    )


def caddy(folder: Path, service_port: int, port: int, signed: Signed) -> Command:
    program = find_program("caddy")
    site = f"https://127.0.0.1:{port}, https://localhost:{port} {{\n\ttls {signed.cert} {signed.key}\n"
    replaced = _replaced(
        DEPLOY / "caddy" / "Caddyfile",
        {"127.0.0.1:8000": f"127.0.0.1:{service_port}", "api.example.com {\n": site},
    )
    (folder / "Caddyfile").write_text(_CADDY.format(folder=folder) + replaced)
    return Command(
        [program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], {"HOME": str(folder)}
    )


GATEWAYS: Mapping[str, Callable[[Path, int, int, Signed], Command]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
}


@contextmanager
def gateway(kind: str, folder: Path, service_port: int, signed: Signed) -> Iterator[str]:
    """Run a proxy before the service, and return its address, which is HTTPS."""
    port = free_port()
    command = GATEWAYS[kind](folder, service_port, port, signed)
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command.arguments, env={**os.environ, **command.environment}, cwd=folder, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _answers(process, f"https://127.0.0.1:{port}/health/live", folder / "output.log"))
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _replaced(file: Path, new: Mapping[str, str]) -> str:
    text = file.read_text("utf-8")
    for old, value in new.items():
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
        text = text.replace(old, value)
    return text


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(url, verify=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
