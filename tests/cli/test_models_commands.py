"""`unroll models`: what it lists beside stray folders, and the changes that it makes to a models folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.bundle.load import MANIFEST_FILE, load_bundle, read_manifest
from service.bundle.models_folder import find_bundles
from service.bundle.versions import taken_versions
from service.cli import commands as cli
from tests.conftest import running_service, wait_until
from tests.tiny_bundles import copy_bundle, unseal, write_tiny_bundle

CLASSIFIER, TAGGER = "tiny-classifier", "tiny-tagger"


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    """A tagger, and three versions of a classifier."""
    root = tmp_path / "models"
    copy_bundle(tiny_models / TAGGER / "1", root)
    copy_bundle(tiny_models / CLASSIFIER / "1", root)
    for version in ("2", "10"):
        write_tiny_bundle(root, "classification", version=version, seed=int(version))
    return root


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def run(models: Path, *arguments: str) -> str:
    """Return the output of a command on a folder that must succeed."""
    result = invoke("models", *arguments, "--models", str(models))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(models: Path, *arguments: str) -> str:
    """Return the error of a command on a folder that must fail in one line and change nothing."""
    before = sorted(models.rglob("*"))
    result = invoke("models", *arguments, "--models", str(models))
    assert result.exit_code == 2, result.output
    assert sorted(models.rglob("*")) == before
    assert "Traceback" not in result.stderr
    return result.stderr


def identities(models: Path) -> list[str]:
    return [f"{path.parent.name}@{path.name}" for path in find_bundles(models)]


def test_stray_folders_and_damaged_bundles_do_not_keep_the_others_from_being_listed(models: Path) -> None:
    (models / "lost+found").mkdir()
    (models / "loop").symlink_to("loop")
    (models / TAGGER / "1" / MANIFEST_FILE).unlink()
    result = invoke("models", "--models", str(models))
    assert result.exit_code == 0
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["ok", "ok", "ok", "failed:"]
    assert "lost+found: ignored, no model can have this name" in result.stderr
    assert "loop: ignored, it cannot be read" in result.stderr


def test_predict_goes_round_a_damaged_neighbour(models: Path) -> None:
    """Also where the model has to be found by what the others do."""
    shutil.rmtree(models / TAGGER)
    (models / "other" / "1").mkdir(parents=True)
    (models / "other" / "1" / MANIFEST_FILE).write_bytes(b"{")
    for options in ([], ["-m", CLASSIFIER]):
        assert invoke("predict", "--models", str(models), *options, "hello").exit_code == 0


def test_predict_suggests_the_nearest_name(models: Path) -> None:
    result = invoke("predict", "--models", str(models), "-m", "tiny-clasifier", "hello")
    assert result.exit_code == 2
    assert f"did you mean {CLASSIFIER}?" in result.stderr


def test_a_bundle_whose_parts_do_not_fit_is_refused_in_one_line(models: Path) -> None:
    """A manifest can be valid and still lack what its task needs."""
    file = models / TAGGER / "1" / MANIFEST_FILE
    unseal(file.parent)
    file.write_text(file.read_text(encoding="utf-8").replace('"words": "words.json"', '"other": "words.json"'))
    result = invoke("predict", "--models", str(models), "-m", TAGGER, "hello")
    assert result.exit_code == 2
    assert "do not fit together" in result.stderr


def test_the_list_has_its_own_name_too(models: Path) -> None:
    bare, named = run(models), run(models, "list")
    assert bare == named
    assert invoke("models", "--models", str(models), "--json", "list").stdout == run(models, "--json")


def test_links_may_lead_where_the_setting_says(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / TAGGER).rename(tmp_path / "elsewhere")
    (models / TAGGER).symlink_to(tmp_path / "elsewhere")
    assert "UNROLL_LINK_ROOTS" in run(models)
    assert invoke("predict", "--models", str(models), "-m", TAGGER, "the cat").exit_code == 2
    monkeypatch.setenv("UNROLL_LINK_ROOTS", str(tmp_path / "elsewhere"))
    assert "failed" not in run(models)
    assert invoke("predict", "--models", str(models), "-m", TAGGER, "the cat").exit_code == 0


@pytest.mark.parametrize("named", [f"{CLASSIFIER}@2", f"{CLASSIFIER}/2", "{models}/" + f"{CLASSIFIER}/2"])
def test_remove_deletes_one_version(models: Path, named: str) -> None:
    assert "version 10 answers" in run(models, "remove", named.format(models=models), "--yes")
    assert identities(models) == [f"{CLASSIFIER}@1", f"{CLASSIFIER}@10", f"{TAGGER}@1"]


def test_remove_deletes_a_model_with_everything_in_its_folder(models: Path) -> None:
    """Set-aside versions too; nothing is left behind, neither its folder nor one that is hidden."""
    run(models, "rollback", CLASSIFIER)
    run(models, "remove", CLASSIFIER, "-y")
    assert sorted(path.name for path in models.iterdir()) == [TAGGER]


def test_remove_of_a_link_leaves_what_it_leads_to(models: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (models / TAGGER / "1").rename(elsewhere)
    (models / TAGGER / "1").symlink_to(elsewhere)
    run(models, "remove", f"{TAGGER}@1", "--yes")
    assert load_bundle(elsewhere).examples
    assert not (models / TAGGER).exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["remove", CLASSIFIER], "add --yes"),
        (["remove", "tiny-clasifier", "--yes"], f"did you mean {CLASSIFIER}?"),
        (["remove", f"{CLASSIFIER}@3", "--yes"], "there are: 1, 2, 10"),
        (["remove", "../models", "--yes"], "write NAME or NAME@VERSION"),
        (["remove", f"elsewhere/{TAGGER}/1", "--yes"], "another folder is --models"),
        (["remove", "..", "--yes"], "write NAME or NAME@VERSION"),
        (["remove", "", "--yes"], "write NAME or NAME@VERSION"),
        (["rename", TAGGER, CLASSIFIER], "is there already"),
        (["rename", TAGGER, "Spam EN"], "a-z, 0-9"),
        (["rename", TAGGER, "../out"], "a-z, 0-9"),
        (["rename", f"{TAGGER}@1", "x"], "without a version"),
        (["rename", "tagger", "x"], f"did you mean {TAGGER}?"),
        (["rollback", TAGGER], "the only version that answers is 1"),
        (["rollback", CLASSIFIER, "3"], "there are: 1, 2, 10"),
        (["rollback", "nothing-like-it"], "there is no model"),
        (["seal", "tiny-tager"], f"did you mean {TAGGER}?"),
        (["seal", f"{TAGGER}@2"], "there are: 1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(models: Path, arguments: list[str], complaint: str) -> None:
    assert complaint in refused(models, *arguments)


def test_a_command_that_does_not_exist_suggests_the_nearest(models: Path) -> None:
    result = invoke("models", "--models", str(models), "renam")
    assert result.exit_code == 2
    assert "rename" in result.stderr


def test_changes_are_made_to_a_folder_not_over_http() -> None:
    result = invoke("models", "--url", "http://127.0.0.1:9", "remove", "x", "--yes")
    assert result.exit_code == 2
    assert "give --models, not --url" in result.stderr


def test_rename_gives_all_versions_the_name(models: Path) -> None:
    """In manifests and cards too; versions that were set aside come along, and every bundle still proves itself."""
    run(models, "rollback", CLASSIFIER)
    card = models / CLASSIFIER / "1" / "README.md"
    card.write_text(f'# {CLASSIFIER}, version 1\n{{"model": "{CLASSIFIER}"}}\nunroll train {CLASSIFIER}\n')
    run(models, "seal", f"{CLASSIFIER}@1", "--yes")
    run(models, "rename", CLASSIFIER, "greetings")
    assert sorted(path.name for path in models.iterdir()) == ["greetings", TAGGER]
    assert identities(models) == ["greetings@1", "greetings@2", f"{TAGGER}@1"]
    run(models, "rollback", "greetings", "10")
    assert {load_bundle(path).manifest.name for path in find_bundles(models)} == {"greetings", TAGGER}
    renamed = (models / "greetings" / "1" / "README.md").read_text(encoding="utf-8")
    assert renamed == f'# greetings, version 1\n{{"model": "greetings"}}\nunroll train {CLASSIFIER}\n'
    assert invoke("predict", "--models", str(models), "-m", "greetings", "hello").exit_code == 0


def test_a_damaged_bundle_is_not_renamed(models: Path) -> None:
    with (models / CLASSIFIER / "2" / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    assert "sha256" in refused(models, "rename", CLASSIFIER, "greetings")


def test_rollback_goes_back_and_forth_and_deletes_nothing(models: Path) -> None:
    assert run(models, "rollback", CLASSIFIER) == f"{CLASSIFIER} version 2 answers; set aside: 10\n"
    assert run(models, "rollback", CLASSIFIER, "1") == f"{CLASSIFIER} version 1 answers; set aside: 2\n"
    assert run(models, "rollback", CLASSIFIER, "1") == f"{CLASSIFIER} version 1 answers; as it did before\n"
    assert identities(models) == [f"{CLASSIFIER}@1", f"{TAGGER}@1"]
    listed = invoke("models", "--models", str(models))
    assert f"To bring back: unroll models rollback {CLASSIFIER} 10" in listed.stderr
    assert run(models, "rollback", CLASSIFIER, "10") == f"{CLASSIFIER} version 10 answers; brought back: 2, 10\n"
    assert not (models / CLASSIFIER / ".set-aside").exists()
    assert [load_bundle(path).manifest.version for path in find_bundles(models)] == ["1", "2", "10", "1"]


def test_rollback_to_a_damaged_version_is_refused(models: Path) -> None:
    """Otherwise nothing at all would answer."""
    (models / CLASSIFIER / "2" / "classifier.onnx").unlink()
    assert "classifier.onnx is missing" in refused(models, "rollback", CLASSIFIER)


def test_a_version_that_was_published_again_is_not_overwritten(models: Path) -> None:
    """The number of a version that was set aside is taken; where it was used all the same, nothing is replaced."""
    run(models, "rollback", CLASSIFIER)
    assert taken_versions(models, CLASSIFIER) == [1, 2, 10]
    write_tiny_bundle(models, "classification", version="10", seed=99)
    assert "version 10 is there and in" in refused(models, "rollback", CLASSIFIER, "10")


def test_a_running_service_takes_changes_over(models: Path) -> None:
    """The watcher of the folder sees a rollback, a rename and a removal."""

    def versions() -> dict[str, str]:
        listed = client.get("/models").json()["models"]
        return {model["name"]: model["version"] for model in listed if model["is_default"]}

    with running_service(models, reload_every_s=0.05) as client:
        assert versions() == {CLASSIFIER: "10", TAGGER: "1"}
        run(models, "rollback", CLASSIFIER, "1")
        wait_until(lambda: versions() == {CLASSIFIER: "1", TAGGER: "1"})
        run(models, "rename", CLASSIFIER, "greetings")
        wait_until(lambda: versions() == {"greetings": "1", TAGGER: "1"})
        run(models, "remove", TAGGER, "--yes")
        wait_until(lambda: versions() == {"greetings": "1"})
        assert client.get("/health/ready").json()["reasons"] == []


def edit(bundle: Path, **changes: Any) -> None:
    values = json.loads((bundle / MANIFEST_FILE).read_bytes()) | changes
    (bundle / MANIFEST_FILE).write_text(json.dumps(values), encoding="utf-8")


def test_seal_accepts_a_change_that_is_meant(models: Path) -> None:
    bundle = models / TAGGER / "1"
    edit(bundle, description="Finds people and places.")
    assert "unroll models seal" in run(models)
    run(models, "seal", TAGGER)
    assert load_bundle(bundle).manifest.description == "Finds people and places."


def test_seal_adds_the_digest_to_an_older_bundle(models: Path) -> None:
    bundle = models / TAGGER / "1"
    unseal(bundle)
    assert "its manifest has no digest" in invoke("models", "--models", str(models)).stderr
    run(models, "seal", f"{TAGGER}@1")
    assert read_manifest(bundle).digest


def test_seal_asks_about_changed_files(models: Path) -> None:
    bundle = models / TAGGER / "1"
    (bundle / "README.md").write_text("a better card", encoding="utf-8")
    assert "README.md" in refused(models, "seal", TAGGER)
    run(models, "seal", TAGGER, "--yes")
    assert load_bundle(bundle).examples


def test_seal_refuses_a_bundle_that_answers_otherwise(models: Path) -> None:
    """A change of labels is caught by the recorded answers, and the bundle stays as it is."""
    bundle = models / CLASSIFIER / "10"
    edit(bundle, labels=["other", "greeting", "number"])
    assert "example 1: answer" in refused(models, "seal", CLASSIFIER)
    assert "changed after publishing" in run(models)
