"""`unroll keys`: a key is shown once, the file holds no secret, and what is wrong is said in a sentence."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.access.access_control import open_access
from service.access.key_file import read_keys
from service.cli.commands import app
from service.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(path: Path, *arguments: str, fails: bool = False) -> str:
    done = CliRunner().invoke(app, ["keys", *arguments], env={"UNROLL_API_KEYS_FILE": str(path)})
    assert (done.exit_code != 0) == fails, done.output
    return done.output.strip()


def test_a_key_is_printed_once_and_opens_the_service(path: Path) -> None:
    secret = run(path, "add", "search", "--scope", "predict:m", "--requests-per-minute", "5", "--expires", "2099-01-31")
    assert secret.startswith("unroll_")
    assert len(secret) == len("unroll_") + 43
    assert secret not in path.read_text(encoding="utf-8")
    assert secret not in run(path, "list") + run(path, "list", "--json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    access = open_access(Settings(api_keys_file=path))
    assert access.identify(f"Bearer {secret}".encode(), b"").name == "search"


def test_the_list_says_what_each_key_may(path: Path) -> None:
    run(path, "add", "search", "--requests-per-minute", "5", "--weight", "2")
    run(path, "add", "old", "--scope", "admin", "--expires", "2020-01-01")
    first, second = run(path, "list").splitlines()
    assert first.split() == ["search", "predict,generate", "requests_per_minute=5", "weight=2"]
    assert second.split() == ["old", "admin", "expired", "2020-01-01"]
    listed = json.loads(run(path, "list", "--json"))["keys"]
    assert [(entry["name"], entry["scopes"], entry["limits"]) for entry in listed] == [
        ("search", ["predict", "generate"], {"requests_per_minute": 5}),
        ("old", ["admin"], {}),
    ]


def test_a_revoked_key_is_gone_and_a_new_one_of_its_name_is_another(path: Path) -> None:
    run(path, "add", "search")
    (before,) = read_keys(path)
    run(path, "revoke", "search")
    assert read_keys(path) == []
    run(path, "add", "search")
    (after,) = read_keys(path)
    assert before.identity != after.identity


def test_another_secret_keeps_identity_and_limits(path: Path) -> None:
    first = run(path, "add", "search", "--concurrent", "3")
    (before,) = read_keys(path)
    second = run(path, "rotate", "search")
    (after,) = read_keys(path)
    assert first != second
    assert before.sha256 != after.sha256
    assert after == before.model_copy(update={"sha256": after.sha256})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["add", "search"], "there is a key search already"),
        (["add", "Search"], "is no name for a key"),
        (["add", "a/b"], "is no name for a key"),
        (["add", "x" * 65], "is no name for a key"),
        (["add", "anonymous"], "choose another name"),
        (["add", "x", "--scope", "write"], "there are predict, generate, admin"),
        (["add", "x", "--scope", "admin:m"], "there are predict, generate, admin"),
        (["add", "x", "--expires", "tomorrow"], "write a day such as"),
        (["add", "x", "--expires", "2027-01-31T10:00:00"], "has no offset"),
        (["add", "x", "--expires", "9999-12-31"], "is no time"),
        (["add", "x", "--requests-per-minute", "0"], "requests_per_minute"),
        (["add", "x", "--weight", "nan"], "weight"),
        (["add", "x", "--weight", "1000"], "weight"),
        (["revoke", "nobody"], "there are search"),
        (["rotate", "nobody"], "there are search"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(path: Path, arguments: list[str], sentence: str) -> None:
    run(path, "add", "search")
    before = path.read_bytes()
    output = run(path, *arguments, fails=True)
    assert sentence in output
    assert "Traceback" not in output
    assert path.read_bytes() == before


def test_a_broken_file_is_not_overwritten(path: Path) -> None:
    path.write_text("{", encoding="utf-8")
    assert "Invalid JSON" in run(path, "add", "search", fails=True)
    assert path.read_text(encoding="utf-8") == "{"


def test_without_a_file_the_option_is_named() -> None:
    done = CliRunner().invoke(app, ["keys", "list"], env={"UNROLL_API_KEYS_FILE": ""})
    assert done.exit_code == 2
    assert "UNROLL_API_KEYS_FILE" in done.output


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    """As secrets are mounted in containers."""
    real = tmp_path / "real.json"
    real.write_text('{"keys": []}', encoding="utf-8")
    path.symlink_to(real)
    run(path, "add", "search")
    assert path.is_symlink()
    assert len(read_keys(real)) == 1


@pytest.mark.parametrize("command", ["add", "list", "revoke", "rotate"])
def test_every_command_explains_itself(command: str) -> None:
    assert CliRunner().invoke(app, ["keys", command, "--help"]).exit_code == 0
    assert "unroll keys add search" in CliRunner().invoke(app, ["keys", "--help"]).output
