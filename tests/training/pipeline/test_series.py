"""Series of runs of one recipe: means over seeds, and leave-one-group-out."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from tests.training.cli.test_commands import refused, unroll
from tests.training.tiny_runs import settings_of, write_files


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three seeds of a small classifier; read-only."""
    folder = tmp_path_factory.mktemp("series")
    result = unroll(*seeds_command(folder))
    assert result.exit_code == 0, result.output
    (folder / "stdout.txt").write_text(result.stdout, encoding="utf-8")
    return folder


def seeds_command(folder: Path, *more: str) -> list[str | Path]:
    train, dev = write_files("classification", folder)
    files = ["--train", train, "--dev", dev, "--name", "mine", "--device=cpu"]
    places = ["--runs", folder / "runs", "--models", folder / "models"]
    return ["seeds", "classification", *files, *places, *settings_of("classification", epochs=1), *more]


def test_the_table_has_the_mean_and_every_run(series: Path) -> None:
    """The table has the values of three runs that differ only in the seed, and the baseline."""
    facts = json.loads((series / "runs" / "mine-seeds" / "table.json").read_text())
    assert facts["runs"] == ["seed-1", "seed-2", "seed-3"]
    found = facts["measures"]["accuracy"]
    bundles = [load_bundle(series / "runs" / "mine-seeds" / name / "models" / "mine" / "1") for name in facts["runs"]]
    assert [bundle.manifest.training.seed for bundle in bundles] == [1, 2, 3]
    assert found["values"] == [bundle.manifest.scores[0].value for bundle in bundles]
    assert found["mean"] == pytest.approx(statistics.fmean(found["values"]))
    assert found["deviation"] == pytest.approx(statistics.stdev(found["values"]))
    printed = (series / "stdout.txt").read_text()
    assert printed.startswith((series / "runs" / "mine-seeds" / "table.md").read_text())
    assert "TF-IDF + linear SVM" in printed


def test_the_first_seed_is_published_with_the_means_on_its_card(series: Path) -> None:
    """The first seed is published, not the best one, which would be selected on the dev set."""
    bundle = load_bundle(series / "models" / "mine" / "1")
    assert bundle.manifest.training.seed == 1
    assert "mean of 3 seeds" in bundle.manifest.scores[0].detail
    assert "mean of 3 seeds" in (bundle.path / "README.md").read_text()


def test_the_same_command_goes_on(series: Path, tmp_path: Path) -> None:
    """Finished runs are kept, and a lost run is repeated with the same result."""
    folder = shutil.copytree(series / "runs", tmp_path / "runs") / "mine-seeds"
    write_files("classification", tmp_path)
    before = (folder / "table.json").read_text()
    kept = (folder / "seed-1" / "best.safetensors").stat().st_mtime_ns
    shutil.rmtree(folder / "seed-2")
    first = ["--train", series / "train.csv", "--dev", series / "dev.csv"]
    command = seeds_command(tmp_path)
    result = unroll(*command[:2], *first, *command[6:])
    assert result.exit_code == 0, result.output
    measures, again = (json.loads(text)["measures"] for text in (before, (folder / "table.json").read_text()))
    assert measures == again
    assert (folder / "seed-1" / "best.safetensors").stat().st_mtime_ns == kept


def test_runs_of_another_recipe_are_not_mixed_in(series: Path) -> None:
    """A folder with runs of another recipe is refused, and the message names the remedy."""
    said = refused(*seeds_command(series, "--set=training.learning_rate=0.5"))
    assert "seed-1 holds a run of another recipe" in said
    assert "--runs" in said


def signals_file(folder: Path) -> Path:
    """Three people, each with eight short sequences that rise or fall."""
    lines = []
    for person in ("ann", "bob", "cyd"):
        for number in range(8):
            way = (-1, 1)[number % 2]
            rows = [f"{person}{number},{way * step + 0.1 * number},{person},{way}\n" for step in range(4)]
            lines += rows
    path = folder / "frames.csv"
    path.write_text("sequence,x,subject,label\n" + "".join(lines), encoding="utf-8")
    return path


SMALL = (
    "network.hidden_size=4",
    "network.layers=1",
    "training.epochs=1",
    "training.batch_size=4",
    "training.threads=1",
)


def test_each_group_is_held_out_once(tmp_path: Path) -> None:
    """With three people there are three runs, each scored on the records of the one excluded from training."""
    file, settings = signals_file(tmp_path), [f"--set={setting}" for setting in SMALL]
    places = ["--train", file, "--name", "mine", "--runs", tmp_path / "runs", "--device=cpu"]
    result = unroll("leave-one-out", "classification", *places, *settings)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "runs" / "mine-groups" / "table.json").read_text())
    assert facts["runs"] == ["ann", "bob", "cyd"]
    assert "| dev | mean of 3 | deviation | baseline | ann | bob | cyd |" in result.stdout
    assert result.stderr.count("16 train and 8 dev records") == 3


def test_data_without_groups_is_refused(tmp_path: Path) -> None:
    """Data without groups is refused, and the message says what is missing."""
    train, _ = write_files("classification", tmp_path)
    said = refused("leave-one-out", "classification", "--train", train, "--name", "mine", "--runs", tmp_path)
    assert "belong to no groups" in said


def test_texts_have_groups_too(tmp_path: Path) -> None:
    """A column `group` of texts is held out value by value; what cannot name a folder is spelt otherwise."""
    groups = ("ann", "../bob", "c/d")
    rows = [f"word{n} of text {n},{'xy'[n // 3 % 2]},{groups[n % 3]}" for n in range(36)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label,group", *rows]) + "\n", encoding="utf-8")
    places = ["--train", tmp_path / "a.csv", "--name", "mine", "--runs", tmp_path / "runs", "--device=cpu"]
    result = unroll("leave-one-out", "classification", *places, *settings_of("classification", epochs=1))
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "runs" / "mine-groups" / "table.json").read_text())
    assert sorted(facts["runs"]) == ["_bob-1", "ann", "c_d-3"]
    assert result.stderr.count("24 train and 12 dev records") == 3
