"""A tiny bundle, keys, and a web folder for the tests of pull and push."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.hub.pull import Pulling
from service.hub.store import Transport
from tests.hub.servers import WebServer, web_server
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

#: What fails in these tests fails at once.
FAST = Transport(timeout_s=5.0, connect_timeout_s=5.0, num_tries=2, pause_s=0.0)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle, to be copied and not changed."""
    return write_tiny_bundle(tmp_path_factory.mktemp("original"), "classification", "tiny", "3")


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    """A copy of it, below the folder `remote`."""
    return copy_bundle(original, tmp_path / "remote")


@pytest.fixture
def here(tmp_path: Path) -> Pulling:
    """Pulls into an empty models folder."""
    return Pulling(tmp_path / "models", transport=FAST)


@pytest.fixture
def web(bundle: Path) -> Iterator[WebServer]:
    """A web server whose folder is that of the copy: it lies at `/tiny/3`."""
    with web_server(bundle.parents[1]) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    monkeypatch.setenv("NO_PROXY", "*")
