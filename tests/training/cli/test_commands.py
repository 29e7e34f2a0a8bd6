"""The training commands: their output, its stream, and their exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
import tomli_w
from click.testing import Result
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.cli.commands import TRAINING_COMMANDS
from tests.training.interrupting import interrupt
from tests.training.tiny_runs import settings_of, tiny_recipe, write_files
from training.cli.commands import app
from training.fit import trainer


def unroll(*arguments: str | Path) -> Result:
    """Run one command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def refused(*arguments: str | Path) -> str:
    """The one-line error of a command that must fail with exit code 2 and without a traceback."""
    result = unroll(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a tagger, its finished run and its bundle; read-only."""
    folder = tmp_path_factory.mktemp("home")
    train, dev = write_files("tagging", folder)
    places = ["--runs", folder / "runs", "--models", folder / "models"]
    files = ["--train", train, "--dev", dev, "--name", "mine"]
    result = unroll("train", "tagging", *files, *places, "--device=cpu", *settings_of("tagging", epochs=1))
    (folder / "stdout.txt").write_text(result.stdout, encoding="utf-8")
    (folder / "stderr.txt").write_text(result.stderr, encoding="utf-8")
    assert result.exit_code == 0, result.output
    return folder


def test_training_publishes_a_bundle(home: Path) -> None:
    """`unroll train` turns a labelled file into a bundle that loads, with its path on stdout and progress on stderr."""
    bundle = load_bundle(home / "models" / "mine" / "1")
    assert bundle.manifest.labels == ("DET", "NOUN", "VERB")
    assert bundle.manifest.training.data[0].name == "train.conllu"
    assert bundle.manifest.parity is not None
    (score,) = bundle.manifest.scores
    assert score.measure == "accuracy"
    assert score.baseline is not None
    assert score.baseline_name
    stdout = (home / "stdout.txt").read_text(encoding="utf-8")
    assert stdout.startswith(f"published {home / 'models' / 'mine' / '1'}")
    stderr = (home / "stderr.txt").read_text(encoding="utf-8")
    assert "mine: tagging on train.conllu, 40 train and 8 dev records" in stderr
    assert "epoch   1  loss" in stderr
    assert "dev accuracy" in stderr


def test_a_second_run_of_the_same_name_is_refused(home: Path) -> None:
    """The error offers both ways out, and the existing run is unchanged."""
    before = (home / "runs" / "mine" / "last.safetensors").read_bytes()
    said = refused(
        "train", "tagging", "--train", home / "train.conllu", "--dev", home / "dev.conllu",
        "--name", "mine", "--runs", home / "runs", "--models", home / "models", *settings_of("tagging"),
    )  # fmt: skip
    assert "already holds a run" in said
    assert "--overwrite" in said
    assert (home / "runs" / "mine" / "last.safetensors").read_bytes() == before


def test_evaluate_prints_one_object(home: Path) -> None:
    """`--json` prints exactly one JSON object on stdout; without it, one measure per line is printed."""
    bundle, file = home / "models" / "mine" / "1", home / "dev.conllu"
    result = unroll("evaluate", bundle, file, "--json")
    scores = json.loads(result.stdout)
    assert result.exit_code == 0
    assert 0 <= scores["accuracy"] <= 100
    assert scores["count"] == 8
    plain = unroll("evaluate", bundle, file)
    assert f"{'accuracy':<22} {scores['accuracy']:.4f}" in plain.stdout.splitlines()


def test_what_was_understood_of_the_files_is_said(home: Path) -> None:
    """Training, evaluation and the data check state the format and the number of records of each file."""
    trained = (home / "stderr.txt").read_text(encoding="utf-8")
    train, dev = home / "train.conllu", home / "dev.conllu"
    for file in (train, dev):
        assert f"{file}: conllu, UTF-8; tags: " in trained
    assert f"{dev}: conllu, UTF-8; tags: " in unroll("evaluate", home / "models" / "mine" / "1", dev).stderr
    checked = unroll("check-data", "tagging", "--train", train, "--dev", dev).stdout
    assert checked.startswith("Read as")
    assert checked.count("conllu, UTF-8") == 2


def test_columns_and_the_form_of_a_file_are_given_by_role(tmp_path: Path) -> None:
    """Names stand as they are written, even a number; the encoding, separator and header have roles too."""
    path = tmp_path / "a.txt"
    path.write_bytes("0;1\ncafé;a\nthé;b\n".encode("cp1252"))
    form = ["--column", "encoding=cp1252", "--column", "separator=semicolon"]
    columns = ["--column", "text=0", "--column", "label=1"]
    assert unroll("check-data", "classification", "--train", path, *form, *columns).exit_code == 0
    said = refused("check-data", "classification", "--train", path, "--column", "encoding=ansi-1")
    assert "unknown encoding 'ansi-1'" in said


def test_warnings_of_data_are_said_in_training_and_are_no_faults(tmp_path: Path) -> None:
    """At most ten warnings are shown, with the number of the rest; the exit code of a check stays 0."""
    path = tmp_path / "a.conll"
    path.write_text("".join(f"w{n} I-X\nv{n} O\nu{n} B-X\n\n" for n in range(30)), encoding="utf-8")
    trained = unroll("train", "tagging", "--train", path, "--name", "mine", "--dry-run", "--device=cpu")
    assert trained.stderr.count("warning: ") == 11
    assert "and 20 more warnings" in trained.stderr
    checked = unroll("check-data", "tagging", "--train", path)
    assert checked.exit_code == 0
    assert checked.stdout.count("continues no span") == 10
    assert "and 20 more" in checked.stdout


def test_verify_passes_and_fails(home: Path, tmp_path: Path) -> None:
    """A published bundle passes, alone and against torch; a corrupted one exits with an error."""
    bundle = home / "models" / "mine" / "1"
    for arguments in ([bundle], [bundle, "--run", home / "runs" / "mine"]):
        result = unroll("verify", *arguments, "--json")
        facts = json.loads(result.stdout)
        assert (result.exit_code, facts["passed"], facts["failures"]) == (0, True, [])
        assert facts["checks"]
    spoilt = shutil.copytree(bundle, tmp_path / "spoilt")
    graph = (spoilt / "tagger.onnx").read_bytes()
    (spoilt / "tagger.onnx").write_bytes(graph[: len(graph) // 2])
    result = unroll("verify", spoilt)
    assert result.exit_code != 0
    assert "tagger.onnx" in result.output


def test_a_finished_run_is_exported_again(home: Path, tmp_path: Path) -> None:
    """`export` publishes the same answers from the run folder; `--fp32` about doubles the size."""
    for option, folder in (("", tmp_path / "half"), ("--fp32", tmp_path / "whole")):
        result = unroll("export", home / "runs" / "mine", "--models", folder, *filter(None, [option]))
        assert result.exit_code == 0, result.output
    first, again = (load_bundle(root / "mine" / "1") for root in (home / "models", tmp_path / "half"))
    assert first.examples == again.examples
    assert first.manifest.files["tagger.onnx"] == again.manifest.files["tagger.onnx"]
    sizes = [(tmp_path / kind / "mine" / "1" / "tagger.onnx").stat().st_size for kind in ("half", "whole")]
    assert sizes[1] > 1.2 * sizes[0]


def test_a_missing_dev_file_is_split_off_aloud(tmp_path: Path) -> None:
    """The split is reported on stderr, the recipe is printed on stdout as JSON, and `--dry-run` writes no files."""
    train, _ = write_files("classification", tmp_path / "[bold]my data[/x]")
    runs = tmp_path / "runs"
    result = unroll(
        "train", "classification", "--train", train, "--name", "mine", "--runs", runs, "--dry-run",
        "--set", "training.epochs=3", "--set", "tokenizer.lowercase=false", "--set", 'description="two words"',
    )  # fmt: skip
    assert result.exit_code == 0
    assert any(line.startswith("No dev file: ") for line in result.stderr.splitlines())
    recipe = json.loads(result.stdout)
    assert (recipe["training"]["epochs"], recipe["tokenizer"]["lowercase"]) == (3, False)
    assert recipe["description"] == "two words"
    assert not runs.exists()


def test_training_without_export_publishes_nothing(tmp_path: Path) -> None:
    """`--no-export` stops after the best epoch is selected."""
    train, dev = write_files("classification", tmp_path)
    result = unroll(
        "train", "classification", "--train", train, "--dev", dev, "--name", "mine", "--no-export",
        "--runs", tmp_path / "runs", "--models", tmp_path / "models", *settings_of("classification", epochs=1),
    )  # fmt: skip
    assert result.exit_code == 0
    assert "best epoch 1" in result.stderr
    assert (tmp_path / "runs" / "mine" / "best.safetensors").is_file()
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "tagging", "--train", "{train}"], "--name is missing"),
        (["train", "tagging", "--name", "x"], "--train is missing"),
        (["train", "pos-eng"], "no recipe 'pos-eng'; did you mean pos-en?"),
        (["train", "pos-en", "--train", "{train}"], "--train and --dev need a task"),
        (["train", "tagging", "--train", "nowhere.conllu", "--name", "x"], "nowhere.conllu: no such file"),
        (["train", "tagging", "--train", "{train}", "--name", "X Y"], "name: lower-case letters, digits"),
        (
            ["train", "tagging", "--train", "{train}", "--name", "x", "--set", "training.epoch=3"],
            "training.epoch: there is no such key",
        ),
        (["train", "tagging", "--train", "{train}", "--name", "x", "--set", "epochs"], "not of the form key=value"),
        (["train", "tagging", "--train", "{train}", "--name", "x", "--device", "tpu"], "--device tpu"),
        (["train", "tagging", "--train", "{train}", "--name", "x", "--column", "colour=1"], "unknown column role"),
        (["train", "translation", "--train", "{train}", "--name", "x"], "train.conllu"),
        (["resume", "{folder}"], "is not a run folder"),
        (["retrain", "{folder}"], "is not a run folder"),
        (["find-lr", "pos-eng"], "did you mean pos-en?"),
        (["find-lr", "tagging", "--train", "{train}", "--name", "x", "--from", "2", "--to", "1"], "must be the larger"),
        (["search", "pos-eng", "--vary", "seed=1,2"], "did you mean pos-en?"),
        (["search", "tagging", "--train", "{train}", "--name", "x", "--vary", "seed=a..b"], "a is not a number"),
        (["export", "{folder}"], "is not a run folder"),
        (["evaluate", "{folder}", "{train}"], "manifest.json"),
        (["check-data", "colouring", "--train", "{train}"], "unknown task 'colouring'"),
    ],
)  # fmt: skip
def test_a_mistake_gets_a_plain_message(arguments: list[str], reason: str, tmp_path: Path) -> None:
    """A user error prints one line, exits with code 2, leaves stdout empty and creates no run folder."""
    train, _ = write_files("tagging", tmp_path / "files")
    names = {"train": str(train), "folder": str(tmp_path)}
    places = ["--runs", str(tmp_path / "runs")] if arguments[0] == "train" else []
    assert reason in refused(*[argument.format(**names) for argument in arguments], *places)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_of_ones_own_is_trained_by_path(tmp_path: Path) -> None:
    """A recipe file can be trained by path, and `--name` and `--set` override it."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    path = tmp_path / "my.toml"
    path.write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    result = unroll("train", path, "--name", "other", "--set", "seed=5", "--dry-run")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == recipe.model_dump(mode="json", exclude_none=True) | {"name": "other", "seed": 5}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and SIGTERM save a checkpoint, print a working resume command, and exit with the conventional status."""
    train, dev = write_files("classification", tmp_path)
    update = trainer.Trainer._update

    def signalling(self: trainer.Trainer, *arguments: object) -> object:
        if self.progress.step == 2:
            interrupt(number)
        return update(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_update", signalling)
        result = unroll(
            "train", "classification", "--train", train, "--dev", dev, "--name", "mine", "--no-export",
            "--runs", tmp_path / "runs", *settings_of("classification", epochs=1),
        )  # fmt: skip
    assert result.exit_code == code
    assert "error" not in result.stderr
    found = re.search(r"continue with: unroll (.+)$", result.stderr.strip())
    assert found is not None
    resumed = unroll(*found[1].split(), "--no-export")
    assert resumed.exit_code == 0
    assert "best epoch 1" in resumed.stderr


def test_divergence_is_a_plain_message(tmp_path: Path) -> None:
    """A diverging learning rate ends in a one-line error that names the settings to change, and exit code 2."""
    train, dev = write_files("generation", tmp_path)
    said = refused(
        "train", "generation", "--train", train, "--dev", dev, "--name", "mine", "--runs", tmp_path / "runs",
        *settings_of("generation", learning_rate=1e9),
    )  # fmt: skip
    assert "training.learning_rate" in said
    assert "training.clip_norm" in said


def test_check_data_finds_nothing_in_good_files(home: Path) -> None:
    """Valid files give exit code 0 and a JSON report."""
    result = unroll("check-data", "tagging", "--train", home / "train.conllu", "--dev", home / "dev.conllu", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)


def test_check_data_exits_with_1_for_faults(tmp_path: Path) -> None:
    """A faulty file is reported with file and line."""
    path = tmp_path / "bad.csv"
    path.write_text("text,label\nhello,x\nno label,\nbye,y\n", encoding="utf-8")
    result = unroll("check-data", "classification", "--train", path)
    assert result.exit_code == 1
    assert "bad.csv:3" in result.output.replace("\n", "")


def test_every_command_explains_itself() -> None:
    """`--help` of each command works and has an example, and the list of commands is complete."""
    listed = unroll("--help").stdout
    for command in TRAINING_COMMANDS:
        assert command in listed
        helped = unroll(command, "--help")
        assert helped.exit_code == 0
        assert f"unroll {command} " in " ".join(helped.stdout.split())


def test_settings_read_as_in_a_recipe(tmp_path: Path) -> None:
    """The value after = is parsed as TOML where possible, else as text; both forms give the same recipe as a file."""
    train, dev = write_files("translation", tmp_path)
    result = unroll(
        "train", "translation", "--train", train, "--dev", dev, "--name", "mine", "--dry-run",
        "--set", "network.attention=additive", "--set", "network.tie_embeddings=false", "--set", "version=3",
    )  # fmt: skip
    recipe = json.loads(result.stdout)
    assert recipe["network"] | tomllib.loads('attention = "additive"\ntie_embeddings = false') == recipe["network"]
    assert recipe["version"] == "3"


def test_a_dry_run_says_what_a_run_needs(tmp_path: Path) -> None:
    """Weights, updates, memory and time go to stderr, the recipe with `--deterministic` to stdout; no file is made."""
    train, dev = write_files("tagging", tmp_path / "files")
    result = unroll(
        "train", "tagging", "--train", train, "--dev", dev, "--name", "mine", "--runs", tmp_path / "runs",
        "--dry-run", "--deterministic", *settings_of("tagging", epochs=3),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for said in (
        "weights; the first batch has a loss of",
        "5 updates an epoch, 15 in all",
        "MiB of tensors",
        "minutes",
    ):
        assert said in result.stderr
    assert json.loads(result.stdout)["training"]["deterministic"] is True
    assert not (tmp_path / "runs").exists()


def test_a_run_is_done_again_from_its_folder(home: Path, tmp_path: Path) -> None:
    """`retrain` reports equal weights, and exits with 1 for a run that was not trained with this recipe."""
    places = ["--into", tmp_path / "again", "--device=cpu"]
    result = unroll("retrain", home / "runs" / "mine", *places)
    assert result.exit_code == 0, result.output
    assert result.stdout == "the best weights of both runs are equal to the bit\n"
    other = shutil.copytree(home / "runs" / "mine", tmp_path / "other")
    config = (other / "config.toml").read_text(encoding="utf-8")
    (other / "config.toml").write_text(config.replace("seed = 1", "seed = 2"), encoding="utf-8")
    result = unroll("retrain", other, *places, "--overwrite")
    assert result.exit_code == 1
    assert "the best weights differ by up to" in result.stdout
    assert "unroll retrain" in refused("train", other)


def test_a_learning_rate_is_found(tmp_path: Path) -> None:
    """The command prints one JSON object with the suggestion and the curve; the plot is the only file written."""
    train, dev = write_files("classification", tmp_path / "files")
    result = unroll(
        "find-lr", "classification", "--train", train, "--dev", dev, "--name", "mine", "--runs", tmp_path / "runs",
        "--steps", "40", "--json", *settings_of("classification"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    rates = [point["rate"] for point in facts["points"]]
    assert rates[0] < facts["suggestion"] < rates[-1]
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["mine-rates.png"]


def test_a_search_prints_its_table(tmp_path: Path) -> None:
    """The trials as CSV and the best recipe's file are printed on stdout; `train` accepts that file."""
    train, dev = write_files("classification", tmp_path / "files")
    result = unroll(
        "search", "classification", "--train", train, "--dev", dev, "--name", "mine", "--runs", tmp_path / "runs",
        "--trials", "2", "--vary", "training.learning_rate=1e-3..1e-1:log", "--vary", "network.cell=gru,lstm",
        *settings_of("classification", epochs=1),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    header, *trials, best = result.stdout.splitlines()
    assert header == "trial,training.learning_rate,network.cell,dev,epochs,state"
    assert len(trials) == 2
    assert best == f"best recipe: {tmp_path / 'runs' / 'mine-search' / 'best.toml'}"
    assert unroll("train", best.removeprefix("best recipe: "), "--dry-run").exit_code == 0
