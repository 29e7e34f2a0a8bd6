"""Taking part in a run of another node: its recipe, its data and its checkpoint, from a copy of the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.errors import UnrollError
from tests.training.tiny_runs import tiny_recipe
from training.fit.run_folder import RunFolder
from training.pipeline.run import Run, prepare_run, start_run
from training.pipeline.shared_run import _taking_part, note_launch, was_restarted


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run as node 0 began it; read-only."""
    folder = tmp_path_factory.mktemp("first")
    return start_run(prepare_run(tiny_recipe("classification", folder / "data", trackers=[])), folder / "run")


def other_node(first: Run, folder: Path) -> Path:
    """The data of the run on a disk of its own."""
    shutil.copytree(Path(first.recipe.data.train).parent, folder / "data")
    return folder / "data"


def test_a_node_reads_its_own_files(first: Run, tmp_path: Path) -> None:
    """The files may lie elsewhere; vocabulary and network are those of node 0, and nothing is written to its folder."""
    recipe = tiny_recipe("classification", other_node(first, tmp_path), trackers=[])
    run = _taking_part(first.folder.contents(), first.folder.path, recipe, None)
    assert run.vocabulary.labels == first.vocabulary.labels
    assert len(run.data.train) == len(first.data.train)
    assert run.folder.path != first.folder.path
    assert "resume" in run.folder.how_to_go_on()
    assert str(first.folder.path) in run.folder.how_to_go_on()


def test_other_data_and_another_recipe_are_refused(first: Run, tmp_path: Path) -> None:
    """The file that differs is named with both digests, the key that differs with both values."""
    data = other_node(first, tmp_path)
    recipe = tiny_recipe("classification", data, trackers=[])
    (data / "train.csv").write_text((data / "train.csv").read_text() + "a cat,cat\n")
    with pytest.raises(
        UnrollError, match=r"train/train.csv is [0-9a-f]{12}\.\.\. there and [0-9a-f]{12}\.\.\. on node"
    ):
        _taking_part(first.folder.contents(), first.folder.path, recipe, None)
    other = tiny_recipe("classification", tmp_path / "more", trackers=[], epochs=9)
    with pytest.raises(UnrollError, match=r"training.epochs is 9 there and 2 on node 0"):
        _taking_part(first.folder.contents(), first.folder.path, other, None)


def test_only_a_restart_of_the_same_launch_goes_on_by_itself(first: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart by torchrun the run is the one that this launch began; another launch needs --resume."""
    path = first.folder.path
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    note_launch(RunFolder(path))
    assert not was_restarted(path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert was_restarted(path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-2")
    assert not was_restarted(path)
    assert not was_restarted(path / "nothing")
