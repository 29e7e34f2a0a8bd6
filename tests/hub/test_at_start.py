"""A service pulls what `UNROLL_PULL` names before it loads its folder, and readiness says what is missing."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient

from service.bundle.load import MANIFEST_FILE, file_digest
from service.bundle.write import SIGNATURE_FILE
from service.hub import at_start
from service.hub.address import parse_address
from service.hub.at_start import PullsAtStart, pulls_of
from service.hub.pull import Pulling
from service.hub.signature import make_keys, sign
from service.server.app import create_app
from service.settings import Settings, SettingsError
from tests.conftest import wait_until
from tests.hub.servers import WebServer
from tests.hub.tampering import at


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings(models_dir=tmp_path / "models", device="cpu", lanes=1, **values)  # type: ignore[arg-type]


def reasons(client: TestClient) -> str:
    """Why the service is not ready; "" when it is."""
    return " ".join(client.get("/health/ready").json()["reasons"])


def test_a_service_answers_with_a_bundle_that_it_pulled(web: WebServer, tmp_path: Path) -> None:
    with TestClient(create_app(settings(tmp_path, pull=str(at(web))))) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        answer = client.post("/predict", json={"model": "tiny", "inputs": ["hello world"]})
    assert answer.status_code == 200
    assert answer.json()["predictions"]


def test_readiness_says_what_is_being_pulled(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is live meanwhile, and loads the bundle once it is there."""
    held = threading.Event()
    pull = at_start.pull

    def held_pull(*arguments: object) -> object:
        held.wait()
        return pull(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(at_start, "pull", held_pull)
    with TestClient(create_app(settings(tmp_path, pull=str(at(web))))) as client:
        wait_until(lambda: f"{at(web)}: being pulled" in reasons(client))
        assert client.get("/health/live").status_code == 200
        held.set()
        wait_until(lambda: client.get("/health/ready").status_code == 200)


def test_what_cannot_be_pulled_is_a_reason_and_keeps_nothing_else_from_answering(
    web: WebServer, bundle: Path, tmp_path: Path
) -> None:
    """One address is sound, the other has nothing."""
    addresses = f"{at(web)} http://{web.host}/absent/1"
    with TestClient(create_app(settings(tmp_path, pull=addresses))) as client:
        wait_until(lambda: "cannot be pulled" in reasons(client) and "absent" in reasons(client))
        wait_until(lambda: client.post("/predict", json={"inputs": ["hello world"]}).status_code == 200)
        assert client.get("/health/ready").status_code == 503


def test_where_any_model_will_do_a_failed_pull_is_no_reason(web: WebServer, tmp_path: Path) -> None:
    addresses = f"{at(web)} http://{web.host}/absent/1"
    with TestClient(create_app(settings(tmp_path, pull=addresses, ready="any"))) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        assert reasons(client) == ""


def test_what_failed_is_tried_again(web: WebServer, bundle: Path, here: Pulling) -> None:
    """What was pulled is left alone then."""
    bundle.parent.rename(bundle.parents[1] / "later")
    pulls = PullsAtStart([at(web)], here)
    pulls.run()
    assert "cannot be pulled" in pulls.reasons[0]
    assert not pulls.is_done
    shutil.move(bundle.parents[1] / "later", bundle.parent)
    pulls.run()
    assert (pulls.reasons, pulls.is_done) == ([], True)


def test_a_bundle_that_is_there_by_its_digest_needs_no_server(web: WebServer, bundle: Path, here: Pulling) -> None:
    """A service starts again while the other side is down, also where keys are trusted: the signature was kept."""
    digest = file_digest(bundle / MANIFEST_FILE)
    address, key = at(web, f"@sha256:{digest}"), Ed25519PrivateKey.generate()
    (bundle / SIGNATURE_FILE).write_text(sign(digest, key).model_dump_json(), encoding="utf-8")
    PullsAtStart([address], here).run()
    web.close()
    for trusted, is_done in [
        ([], True),
        ([key.public_key()], True),
        ([Ed25519PrivateKey.generate().public_key()], False),
    ]:
        again = PullsAtStart([address], replace(here, trusted=trusted))
        again.run()
        assert again.is_done == is_done


def test_workers_that_pull_the_same_receive_it_once(web: WebServer, here: Pulling) -> None:
    """The first has the lock of the folder; the others find the bundle there."""
    workers = [threading.Thread(target=PullsAtStart([at(web)], here).run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [path for _, path, _ in web.requests].count("/tiny/3/classifier.onnx") == 1


def test_a_fault_of_a_library_is_a_reason_like_any_other(here: Pulling, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of a library")

    monkeypatch.setattr(at_start, "pull", broken)
    pulls = PullsAtStart([parse_address("https://host/tiny/3")], replace(here, max_bytes=1))
    pulls.run()
    assert "a fault of a library" in pulls.reasons[0]


@pytest.mark.parametrize("values", [{"pull": "tiny"}, {"pull": "https://host/tiny/3", "trusted_keys": "/absent.pub"}])
def test_what_can_never_be_pulled_ends_the_start(values: dict[str, str], tmp_path: Path) -> None:
    """A mistake in a setting is no trouble of the network."""
    with pytest.raises(SettingsError, match="UNROLL_PULL"):
        create_app(settings(tmp_path, **values))


def test_trusted_keys_hold_at_the_start(web: WebServer, tmp_path: Path) -> None:
    make_keys(tmp_path / "release")
    pulls = pulls_of(settings(tmp_path, pull=str(at(web)), trusted_keys=str(tmp_path / "release.pub")))
    pulls.run()
    assert "not signed" in pulls.reasons[0]
