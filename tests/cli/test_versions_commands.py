"""`unroll models diff` and `unroll models prune`."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from service.bundle.versions import roll_back
from service.cli.versions.answer_comparison import SCORERS
from tests.cli.test_models_commands import CLASSIFIER, TAGGER, identities, models, refused, run
from training.evaluation.evaluate import evaluate_bundle

__all__ = ["models"]  # the fixture


class _Scorer:
    """The entry point that an installed `training` declares."""

    def load(self) -> object:
        return evaluate_bundle


def test_versions_that_are_equal_have_no_difference(models: Path) -> None:
    """A bundle beside itself, also with the same answers."""
    same = f"{CLASSIFIER}@2"
    assert "no difference" in run(models, "diff", same, same)


def test_what_differs_is_shown_beside_each_other(models: Path) -> None:
    """One row a fact; a name alone is its highest version."""
    lines = run(models, "diff", f"{CLASSIFIER}@1", CLASSIFIER).splitlines()
    assert lines[0].split() == [f"{CLASSIFIER}@1", f"{CLASSIFIER}@10"]
    assert [line.split()[0] for line in lines[1:]] == ["graphs"]


def test_answers_to_a_file_are_compared(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many differ, the first of them with their place, and the scores of both where the file has labels."""
    file = tmp_path / "dev.csv"
    texts = ["the cat sat", "hello world", "ada lives in london", "a mat on a mat", "one two one two"]
    file.write_text("text,label\n" + "".join(f"{text},sport\n" for text in texts), encoding="utf-8")
    pair = (f"{CLASSIFIER}@2", f"{CLASSIFIER}@10")
    found = json.loads(run(models, "diff", *pair, "--data", str(file), "--json", "--show", "1"))
    assert found["inputs"] == len(texts)
    assert 0 < found["differing"] <= len(texts)
    assert found["answers"][0]["place"].startswith(f"{file}:")
    assert found["answers"][0]["first"] != found["answers"][0]["second"]
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [_Scorer()] if group == SCORERS else real(group=group),
    )
    told = run(models, "diff", *pair, "--data", str(file), "--show", "2")
    assert f"{found['differing']} of {len(texts)} answers differ" in told
    assert "accuracy" in told
    assert told.count(f"{file}:") == min(2, found["differing"])


def test_models_of_different_tasks_do_not_compare(models: Path) -> None:
    """Nor does one that is not there, nor a file that is not."""
    assert "only models of one task compare" in refused(models, "diff", CLASSIFIER, TAGGER)
    assert "there is no model 'other'" in refused(models, "diff", CLASSIFIER, "other")
    assert "there is no such file" in refused(models, "diff", CLASSIFIER, CLASSIFIER, "--data", "gone.csv")


def test_prune_tells_first_and_deletes_only_when_asked(models: Path) -> None:
    """The highest versions stay; without --yes nothing changes."""
    told = run(models, "prune", "--keep", "1")
    assert f"would remove {CLASSIFIER}@1\nwould remove {CLASSIFIER}@2\n" in told
    assert len(identities(models)) == 4
    run(models, "prune", CLASSIFIER, "--keep", "2", "--yes")
    assert identities(models) == [f"{CLASSIFIER}@2", f"{CLASSIFIER}@10", f"{TAGGER}@1"]
    assert "nothing to remove" in run(models, "prune", "--keep", "2", "--yes")


def test_versions_in_use_are_never_pruned(models: Path) -> None:
    """What an alias names stays and does not count; what a rollback has set aside is left alone."""
    run(models, "alias", CLASSIFIER, "stable=1")
    run(models, "prune", "--keep", "1", "--yes")
    assert identities(models) == [f"{CLASSIFIER}@1", f"{CLASSIFIER}@10", f"{TAGGER}@1"]
    roll_back(models, CLASSIFIER, "1")
    run(models, "prune", "--keep", "1", "--yes")
    assert (models / CLASSIFIER / ".set-aside" / "10").is_dir()


def test_nothing_is_pruned_where_the_rollout_cannot_be_read(models: Path) -> None:
    """What is in use is then not known."""
    (models / CLASSIFIER / "rollout.json").write_text("{", encoding="utf-8")
    assert "rollout.json" in refused(models, "prune", "--keep", "1", "--yes")
    assert "write NAME" in refused(models, "prune", "a b", "--keep", "1")
