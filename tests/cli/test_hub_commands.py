"""`unroll pull`, `push` and `signing-key`: licence, scores and signature are shown, and errors are one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.cli.commands import app
from service.settings import Settings
from tests.conftest import PATIENCE_S, wait_until
from tests.hub.servers import Answer, web_server
from tests.hub.tampering import nothing_is_left, reseal
from tests.tiny_bundles import write_tiny_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with `tiny` version 1, of a licence and with a text that would colour a terminal."""
    bundle = write_tiny_bundle(tmp_path / "models", "tagging", "tiny")
    reseal(bundle, licence="CC BY 4.0", description="red \x1b[31m text")
    return tmp_path / "models"


def run(*arguments: object, fails: bool = False) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert (done.exit_code != 0) == fails, done.output
    return done.output


def test_a_bundle_goes_from_one_folder_to_another_signed(models: Path, tmp_path: Path) -> None:
    """Licence and score are shown before its files come and after; what it says of itself is made printable."""
    address, key = (tmp_path / "hub" / "tiny").as_uri(), tmp_path / "release"
    assert "ed25519:" in run("signing-key", key)
    assert "pushed to" in run("push", "tiny", address, "--key", key, "--models", models)
    shown = run("pull", address, "--key", f"{key}.pub", "--models", tmp_path / "new")
    assert shown.count("CC BY 4.0") == 2
    assert shown.count("f1 50") == 2
    assert shown.count("signed with the trusted key") == 2
    assert "\x1b" not in shown
    assert load_bundle(tmp_path / "new" / "tiny" / "1").manifest.licence == "CC BY 4.0"


def test_the_answer_in_json_is_one_object(models: Path, tmp_path: Path) -> None:
    """That of a push is an entry of a catalogue, from which the bundle is pulled by its name."""
    address = (tmp_path / "hub" / "tiny").as_uri()
    entry = json.loads(run("push", "tiny@1", address, "--models", models, "--json"))
    assert entry.pop("outcome") == "pushed"
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(json.dumps({"bundles": [entry]}), encoding="utf-8")
    assert "CC BY 4.0" in run("pull", "--catalogue", catalogue)
    new = tmp_path / "new"
    pulled = json.loads(run("pull", "tiny", "--catalogue", catalogue, "--models", new, "--json"))
    assert (pulled["outcome"], pulled["digest"], pulled["licence"]) == ("pulled", entry["digest"], "CC BY 4.0")
    assert "is already in" in run("pull", address, "--digest", entry["digest"], "--models", new)


def test_a_dry_run_says_what_would_be_done(models: Path, tmp_path: Path) -> None:
    address = (tmp_path / "hub" / "tiny").as_uri()
    assert "would be pushed" in run("push", "tiny", address, "--models", models, "--dry-run")
    assert not (tmp_path / "hub").exists()


def test_what_is_wrong_is_one_sentence(models: Path, tmp_path: Path) -> None:
    """No trace, whoever is at fault."""
    for arguments, says in [
        (("pull", "ftp://host/x"), "allowed are"),
        (("pull", "tiny"), "give --catalogue"),
        (("pull",), "which bundle?"),
        (("pull", (tmp_path / "absent").as_uri(), "--models", tmp_path / "new"), "no such file"),
        (("pull", "https://host/x", "--key", tmp_path / "absent.pub"), "No such file"),
        (("pull", "https://host/x", "--digest", "12"), "is no digest"),
        (("push", "absent", "https://host/x", "--models", models), "there is no model"),
        (("push", "tiny", "https://host/x", "--key", tmp_path / "absent", "--models", models), "No such file"),
        (("signing-key", tmp_path / "absent" / "key"), "No such file"),
    ]:
        output = run(*arguments, fails=True)
        assert says in output.replace("\n", " ")
        assert "Traceback" not in output


def test_serve_takes_addresses_to_pull_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the setting, which they replace."""
    served: list[Settings] = []
    monkeypatch.setattr("service.server.run.run_server", served.append)
    monkeypatch.setenv("UNROLL_PULL", "https://host/other/1")
    run("serve", "--pull", "https://host/tiny/1", "--pull", "https://host/tiny/2", "--models", tmp_path)
    assert [settings.pull for settings in served] == ["https://host/tiny/1 https://host/tiny/2"]


def test_a_pull_that_is_ended_leaves_nothing(models: Path, tmp_path: Path) -> None:
    """A signal in the middle of a file."""
    new = tmp_path / "new"
    with web_server(models) as server:
        server.answers["/tiny/1/tagger.onnx"] = [Answer(body=b"0" * 100, length=1000, stalls=True)]
        command = [sys.executable, "-m", "service", "pull", f"http://{server.host}/tiny/1", "--models", str(new)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: bool(list(new.rglob("tagger.onnx"))) or process.poll() is not None)
        process.terminate()
        assert process.wait(PATIENCE_S) == 143
    assert nothing_is_left(new)
