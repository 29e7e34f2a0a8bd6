"""The `unroll` command: readable answers, one-line errors, and the same results with and without a server."""

from __future__ import annotations

import importlib.metadata
import json
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from service.cli import commands as cli
from service.server.app import create_app
from service.server.run import open_socket
from service.settings import Settings
from tests.conftest import PATIENCE_S, wait_until
from training.cli.commands import app as training_app

runner = CliRunner()


def run(*arguments: str, text: str | None = None) -> str:
    """Return the output of a command that must succeed."""
    result = runner.invoke(cli.app, arguments, input=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, text: str | None = None) -> str:
    """Return the error message of a command that must fail without a traceback."""
    result = runner.invoke(cli.app, arguments, input=text)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.fixture(scope="module")
def server_url(tiny_models: Path) -> Iterator[str]:
    """A real server on a free port."""
    app = create_app(Settings(models_dir=tiny_models, device="cpu", lanes=1))
    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait_until(lambda: hasattr(app.state, "loading") and app.state.loading.done())
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(PATIENCE_S)
    listening.close()


@pytest.fixture(params=["in this process", "from a server"])
def where(request: pytest.FixtureRequest, tiny_models: Path) -> list[str]:
    """The options that select the backend."""
    if request.param == "in this process":
        return ["--models", str(tiny_models)]
    return ["--url", request.getfixturevalue("server_url")]


def test_predict_prints_words_and_tags(where: list[str]) -> None:
    lines = run("predict", *where, "-m", "tiny-tagger", "The cat").splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == ["The", "cat"]


def test_predict_prints_labels_with_scores(where: list[str]) -> None:
    lines = run("predict", *where, "-m", "tiny-classifier", "-p", "top_k=2", "hello").splitlines()
    assert len(lines) == 2
    assert float(lines[0].split("\t")[1]) >= float(lines[1].split("\t")[1])


def test_predict_reads_lines_of_standard_input(where: list[str]) -> None:
    output = run("predict", *where, "-m", "tiny-classifier", "--json", text="hello\n\nworld one\n")
    assert len(json.loads(output)["predictions"]) == 2


def test_generate_prints_the_text_as_its_json_form_has_it(where: list[str]) -> None:
    options = ["--max-new-tokens", "9", "--seed", "5", "--temperature", "0.9"]
    streamed = run("generate", *where, "ROMEO:", *options)
    whole = json.loads(run("generate", *where, "ROMEO:", *options, "--json"))["generated_text"]
    assert streamed == whole + "\n"


def test_generate_obeys_constraints(where: list[str]) -> None:
    """Choices, a pattern and bad words reach the model from the command line."""
    assert run("generate", *where, "Hello ", "--choices", "yes", "--choices", "no").strip() in ("yes", "no")
    pattern = ["--regex", "[a-c]{4}", "--bad-words", "aa", "--bad-words", "b"]
    assert set(run("generate", *where, "Hello ", *pattern).strip()) <= set("ac")
    assert "lookahead" in refused("generate", *where, "Hello ", "--regex", "(?=a)")


def test_perplexity_is_printed_for_each_text(where: list[str]) -> None:
    """Arguments, or lines of standard input; the JSON form has the log-probabilities that the figures come from."""
    first, second = run("perplexity", *where, text="Hello world\na\n").splitlines()
    perplexity, bits, text = first.split("\t")
    assert (text, second) == ("Hello world", "-\t-\ta")
    (line,) = run("perplexity", *where, "--json", "Hello world").splitlines()
    found = json.loads(line)
    scores = [token["logprob"] for token in found["prefill"]][1:]
    assert float(perplexity) == pytest.approx(found["perplexity"], rel=1e-3)
    assert found["perplexity"] == pytest.approx(math.exp(-sum(scores) / len(scores)))
    assert float(bits) == pytest.approx(-sum(scores) / len(scores) / math.log(2), rel=1e-3)


def test_models_lists_what_there_is(where: list[str]) -> None:
    assert [line.split()[0] for line in run("models", *where).splitlines()] == [
        "tiny-classifier",
        "tiny-generator",
        "tiny-parser",
        "tiny-tagger",
        "tiny-translator",
    ]


def test_errors_of_the_caller_are_reported_in_one_line(where: list[str]) -> None:
    assert "top_k" in refused("predict", *where, "-m", "tiny-classifier", "-p", "top_k=many", "hello")
    assert "KEY=VALUE" in refused("predict", *where, "-m", "tiny-classifier", "-p", "top_k", "hello")
    assert "tiny-tagger" in refused("predict", *where, "-m", "nope", "hello")
    assert "tiny-translator" in refused("predict", *where, "hello")
    assert "empty" in refused("generate", *where, " ")
    assert "no text" in refused("predict", *where, "-m", "tiny-classifier", text="\n")


def test_an_unreachable_server_is_reported_in_one_line() -> None:
    assert "http://127.0.0.1:9" in refused("predict", "--url", "http://127.0.0.1:9", "hello")


def test_a_port_in_use_is_reported_in_one_line(tiny_models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = refused("serve", "--port", port, "--models", str(tiny_models))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in message


def test_a_wrong_setting_stops_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_PRT", "1")
    assert "did you mean UNROLL_PORT" in refused("serve")


def offered(monkeypatch: pytest.MonkeyPatch, commands: typer.Typer | None) -> typer.Typer:
    """Return a command with the training commands attached, or with an entry point that cannot be imported."""

    def load() -> typer.Typer:
        if commands is None:
            raise ImportError("torch")
        return commands

    found = [SimpleNamespace(name="training", load=load)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == "unroll.commands" else [])
    target = typer.Typer()
    cli.attach_training_commands(target)
    return target


def test_commands_of_other_packages_are_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = typer.Typer()

    @commands.command()
    def train(task: str) -> None:
        print(f"training {task}")

    @commands.command()
    def verify() -> None:
        print("verified")

    result = runner.invoke(offered(monkeypatch, commands), ["train", "tagging"])
    assert result.stdout == "training tagging\n"


@pytest.mark.parametrize("command", cli.TRAINING_COMMANDS)
def test_without_the_extra_training_commands_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    result = runner.invoke(offered(monkeypatch, None), [command, "tagging", "--train", "x", "--help"])
    assert result.exit_code == 2
    assert "make train-env" in result.stderr


def test_all_training_commands_are_known_without_the_extra() -> None:
    """Without the training extra, each training command prints how to install it."""
    names = set(typer.main.get_command(training_app).commands)  # type: ignore[attr-defined]
    assert names == set(cli.TRAINING_COMMANDS)


def test_the_commands_of_the_service_do_without_training(monkeypatch: pytest.MonkeyPatch, tiny_models: Path) -> None:
    """The service's commands work although the training package cannot be imported."""

    def load() -> typer.Typer:
        raise SyntaxError("broken")

    found = [SimpleNamespace(name="training", load=load)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == "unroll.commands" else [])
    monkeypatch.setattr(sys, "argv", ["unroll", "models", "--models", str(tiny_models)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


def test_own_commands_are_all_listed() -> None:
    """All of the service's own commands are listed without looking up the training commands."""
    names = {name for name in vars(typer.main.get_command(cli.app))["commands"] if name not in cli.TRAINING_COMMANDS}
    assert names == set(cli.OWN_COMMANDS)


def test_help_needs_no_heavy_import() -> None:
    """`--help` imports no heavy modules."""
    program = (
        "import sys; from service import cli; heavy = {'onnxruntime', 'fastapi', 'numpy', 'torch', 'httpx', 'uvicorn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
