"""`unroll models alias` in a folder, and the commands that change a running server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.bundle.rollout_file import ROLLOUT_FILE, read_rollout
from service.cli import commands as cli
from service.cli.rollout_commands import print_report
from tests.live_server import live_server
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

MODEL = "tiny-classifier"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Path:
    root = tmp_path_factory.mktemp("versions") / "models"
    copy_bundle(tiny_models / MODEL / "1", root)
    write_tiny_bundle(root, "classification", version="2", seed=2)
    return root


@pytest.fixture
def models(versions: Path, tmp_path: Path) -> Path:
    """Two versions of a classifier."""
    shutil.copytree(versions, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def url(versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("served") / "models"
    shutil.copytree(versions, root)
    with live_server(root) as server:
        yield f"http://127.0.0.1:{server.port}"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["models", *arguments])


def output(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def aliased(models: Path, *specs: str) -> str:
    return output("alias", MODEL, *specs, "--models", str(models))


def test_names_and_weights_are_written_and_shown(models: Path) -> None:
    assert "the highest of 1, 2" in aliased(models)
    shown = aliased(models, "stable=1:90", "canary=2:10")
    assert [line.split()[:3] for line in shown.splitlines()] == [["canary", "2", "10.0%"], ["stable", "1", "90.0%"]]
    assert read_rollout(models / MODEL).traffic == {"stable": 90, "canary": 10}
    assert "50.0%" in aliased(models, "canary:90")
    assert "75.0%" in aliased(models, "stable=2:1", "canary:3")
    assert "100.0%" in aliased(models, "canary=")
    assert "the highest of 1, 2" in aliased(models, "--no-weights")
    aliased(models, "stable=")
    assert not (models / MODEL / ROLLOUT_FILE).exists()


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (["stable=9"], "no version '9'; there are: 1, 2"),
        (["stable"], "write ALIAS=VERSION"),
        (["=1"], "write ALIAS=VERSION"),
        ([""], "write ALIAS=VERSION"),
        (["stable=1:many"], "a weight is a number"),
        (["stable=1:nan"], "finite"),
        (["stable=1:-5"], "greater than or equal to 0"),
        (["Stable=1"], "an alias is a-z"),
        (["1=2"], "an alias is a-z"),
        (["stable=newest"], "a version is a number"),
        (["canary:10"], "neither a version nor an alias"),
        (["1:0", "2:0"], "above 0"),
        (["1:5", "--no-weights"], "not both"),
    ],
)
def test_a_wrong_argument_changes_nothing_and_says_what_is_right(models: Path, specs: list[str], sentence: str) -> None:
    result = invoke("alias", MODEL, *specs, "--models", str(models))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (models / MODEL / ROLLOUT_FILE).exists()


def test_a_broken_file_is_named_and_kept(models: Path) -> None:
    (models / MODEL / ROLLOUT_FILE).write_text("{", encoding="utf-8")
    result = invoke("alias", MODEL, "stable=1", "--models", str(models))
    assert (result.exit_code, ROLLOUT_FILE in result.stderr) == (2, True)
    assert (models / MODEL / ROLLOUT_FILE).read_text(encoding="utf-8") == "{"


def test_the_file_follows_its_model(models: Path) -> None:
    """A renamed model keeps its rollout, and a removed one leaves nothing behind."""
    aliased(models, "stable=1:1")
    output("rename", MODEL, "renamed", "--models", str(models))
    assert read_rollout(models / "renamed").aliases == {"stable": "1"}
    assert not (models / MODEL).exists()
    rolled = invoke("rollback", "renamed", "--models", str(models))
    assert "its traffic is split by weights" in rolled.stderr
    output("remove", "renamed", "--yes", "--models", str(models))
    assert not (models / "renamed").exists()


def test_a_server_is_changed_over_http(url: str) -> None:
    assert "unloaded" in output("unload", f"{MODEL}@2", "--url", url)
    assert "unloaded" not in output("load", MODEL, "--url", url)
    shown = output("alias", MODEL, "stable=1:90", "canary=2:10", "--url", url)
    assert ("90.0%" in shown, "canary" in shown) == (True, True)
    assert "20.0%" in output("alias", MODEL, "canary:22.5", "--url", url)
    assert output("reload", "--url", url) == "unchanged\n"
    assert "repeated on version 2" in output("shadow", MODEL, "canary", "--share", "0.5", "--url", url)
    assert "50.0%" in output("shadow", MODEL, "--url", url)
    for _ in range(8):
        CliRunner().invoke(cli.app, ["predict", "--url", url, "-m", MODEL, "--json", "hello world"])
    assert "no requests are repeated" in output("shadow", MODEL, "--off", "--url", url)


@pytest.mark.parametrize("command", [["load", MODEL], ["unload", MODEL], ["reload"], ["shadow", MODEL]])
def test_a_command_for_servers_asks_for_one(command: list[str]) -> None:
    result = invoke(*command)
    assert (result.exit_code, "--url" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["load", "unload", "shadow", "alias"])
def test_a_model_that_a_server_does_not_have_is_named(url: str, command: str) -> None:
    result = invoke(command, "nope", "--url", url)
    assert (result.exit_code, "there is no model 'nope'" in result.stderr) == (2, True)


def test_the_report_has_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    pair = {"answer": "greeting", "candidate": "other", "count": 3}
    times = {"mean_ms": 1.0, "p50_ms": 1.0, "p95_ms": 2.0}
    comparison = {"version": "1", "candidate": "2", "compared": 10, "agreed": 7, "agreement": 0.7, "failed": 1}
    comparison |= {"dropped": 2, "mean_score_distance": None, "latency": times, "candidate_latency": None}
    print_report({"name": MODEL, "candidate": "2", "share": 0.5, "comparisons": [comparison | {"differences": [pair]}]})
    shown = capsys.readouterr().out
    for part in ("compared 10  agreed 7 (70.00%)", "failed 1  dropped 2", "p95 2.00 ms", "3  greeting -> other"):
        assert part in shown
