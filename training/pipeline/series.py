"""Series of runs: one recipe with several seeds, or with each group held out once (`seeds`, `leave-one-out`).

A series is a folder with a run folder per member, which holds the member's bundle under `models`. Finished members are
not trained again, so that the same command continues a stopped series. `table.md` and `table.json` are rewritten after
every member.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from service.bundle.load import MANIFEST_FILE, load_bundle, read_manifest
from service.bundle.manifest import Manifest, Score
from service.bundle.write import staging_folder
from service.errors import UnrollError
from training.config.recipe import DataConfig, Recipe
from training.fit.checkpoint import read_progress
from training.fit.run_folder import RunFolder
from training.fit.run_lock import RunBusy, locked_run
from training.fit.trainer import Interrupted
from training.pipeline.run import Run, describe, open_run, prepare_run, publish_run, start_run, train_run
from training.preprocessing.load_records import load_data
from training.publish.export import free_version, publish_as_new
from training.tasks.catalogue import training_task

Say = Callable[[str], None]

#: The longest name of a member's folder.
_MOST_CHARACTERS = 60
#: Seconds between two looks at members that other processes train.
WAIT_S = 1.0


@dataclass(frozen=True)
class Member:
    """One run of a series."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Spread:
    """Values of one measure for all members, in their order."""

    measure: str
    values: tuple[float, ...]
    baselines: tuple[float | None, ...]
    baseline_name: str

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Sample standard deviation; 0 for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def baseline(self) -> float | None:
        """The mean of the baselines; None without baselines."""
        known = [value for value in self.baselines if value is not None]
        return statistics.fmean(known) if known else None

    def sentence(self) -> str:
        """Mean, deviation and all values."""
        each = ", ".join(f"{value:.4g}" for value in self.values)
        return f"{self.mean:.4g} +- {self.deviation:.2g} ({each})"


def by_seed(recipe: Recipe, count: int) -> list[Member]:
    """The recipe with `count` seeds, its own first."""
    seeds = range(recipe.seed, recipe.seed + count)
    return [Member(f"seed-{seed}", recipe.model_copy(update={"seed": seed})) for seed in seeds]


def by_group(recipe: Recipe) -> list[Member]:
    """The recipe with each group of its data held out once. Raises UnrollError where the records have no groups."""
    task = training_task(recipe)
    data = load_data(task, _holding_out(recipe, ""))
    groups = sorted({task.group_of(record) for record in (*data.train, *data.dev)} - {""})
    if len(groups) < 2:
        raise UnrollError(
            f"{recipe.name}: its records belong to no groups, such as speakers; --column group=... names their column"
        )
    return [Member(_folder_name(group, groups), _holding_out(recipe, group)) for group in groups]


def _folder_name(group: str, groups: Sequence[str]) -> str:
    """The group itself where it can name a folder; else what of it can, with its number."""
    safe = re.sub(r"[^\w.-]+", "_", group)[:_MOST_CHARACTERS].lstrip(".-")
    return group if safe == group else f"{safe}-{groups.index(group) + 1}"


def _holding_out(recipe: Recipe, group: str) -> Recipe:
    data = DataConfig.model_validate({**recipe.data.model_dump(), "hold_out": group})
    return recipe.model_copy(update={"data": data})


def run_series(members: Sequence[Member], folder: Path, device: torch.device, say: Say) -> list[Manifest]:
    """Train, verify and score unfinished members; returns the manifests of all members in order.

    Several processes may run one series: each takes the next member that none trains, and waits for the others at the
    end. A member whose process died is taken on by another one from its checkpoint.

    Raises:
        UnrollError: a folder holds a run of another recipe.
        Interrupted: a signal arrived; the same command continues.
    """
    for member in members:
        _check_recipe(folder / member.name, member.recipe)
    was_waiting = False
    while open_members := [each for each in members if not _is_finished(folder, each)]:
        if any(_train_if_free(each, folder / each.name, device, say) for each in open_members):
            was_waiting = False
        elif not was_waiting:
            say(f"waiting for {', '.join(each.name for each in open_members)}, which other processes train")
            was_waiting = True
        else:
            time.sleep(WAIT_S)
        _write_finished(folder, members)
    manifests = [read_manifest(_bundle_in(folder / member.name, member.recipe)) for member in members]
    write_table(folder, members, manifests)
    return manifests


def _is_finished(folder: Path, member: Member) -> bool:
    return (_bundle_in(folder / member.name, member.recipe) / MANIFEST_FILE).is_file()


def _write_finished(folder: Path, members: Sequence[Member]) -> None:
    """The table of the members that are finished so far."""
    finished = [member for member in members if _is_finished(folder, member)]
    if finished:
        found = [read_manifest(_bundle_in(folder / member.name, member.recipe)) for member in finished]
        write_table(folder, finished, found)


def _train_if_free(member: Member, path: Path, device: torch.device, say: Say) -> bool:
    """Train a member; false where another process trains it, or has done so."""
    try:
        with locked_run(path):
            if _is_finished(path.parent, member):
                return False
            _train(member, path, device, say)
    except RunBusy:
        return False
    return True


def _bundle_in(path: Path, recipe: Recipe) -> Path:
    return path / "models" / recipe.name / recipe.version


def _check_recipe(path: Path, recipe: Recipe) -> None:
    """Raises UnrollError if the folder holds a run of another recipe."""
    if (path / "config.toml").is_file() and RunFolder(path).recipe() != recipe:
        raise UnrollError(f"{path} holds a run of another recipe: remove it, or choose another folder with --runs")


def _train(member: Member, path: Path, device: torch.device, say: Say) -> None:
    has_begun = RunFolder(path).checkpoint.is_file()
    if has_begun and (remark := RunFolder(path).recover()):
        say(remark)
    run = open_run(path) if has_begun else start_run(prepare_run(member.recipe), path)
    say(f"{member.name}: {describe(run, device)}")
    try:
        _finish(run, device, has_begun)
    except Interrupted as error:
        raise Interrupted("stopped; the same command continues", error.signal_number) from error
    publish_run(run, path / "models", say)


def _finish(run: Run, device: torch.device, has_begun: bool) -> None:
    if not (has_begun and read_progress(run.folder.checkpoint).finished):
        train_run(run, device, resume=has_begun)


def spreads(manifests: Sequence[Manifest]) -> Iterator[Spread]:
    """Every measure that all members have."""
    for first in manifests[0].scores:
        scores = [_score(manifest, first) for manifest in manifests]
        found = [score for score in scores if score is not None]
        if len(found) == len(manifests):
            values = tuple(score.value for score in found)
            yield Spread(first.measure, values, tuple(score.baseline for score in found), first.baseline_name)


def write_whole(path: Path, text: str) -> None:
    """Write a file that other processes may write at the same time: one of their contents stands there whole."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _score(manifest: Manifest, like: Score) -> Score | None:
    same = (score for score in manifest.scores if (score.measure, score.split) == (like.measure, like.split))
    return next(same, None)


def write_table(folder: Path, members: Sequence[Member], manifests: Sequence[Manifest]) -> None:
    """`table.md` for people and `table.json` for programs."""
    write_whole(folder / "table.md", table(members, manifests))
    facts = {
        "runs": [member.name for member in members],
        "minutes": [manifest.training.minutes for manifest in manifests],
        "measures": {
            spread.measure: {
                "mean": spread.mean,
                "deviation": spread.deviation,
                "values": spread.values,
                "baselines": spread.baselines,
            }
            for spread in spreads(manifests)
        },
    }
    write_whole(folder / "table.json", json.dumps(facts, indent=2) + "\n")


def table(members: Sequence[Member], manifests: Sequence[Manifest]) -> str:
    """A row for each measure: mean, sample standard deviation, baseline, and what each run has."""
    names = [member.name for member in members]
    lines = [
        f"| dev | mean of {len(names)} | deviation | baseline | {' | '.join(names)} |",
        f"|---|---|---|---|{'---|' * len(names)}",
    ]
    for spread in spreads(manifests):
        cheap = "none" if spread.baseline is None else f"{spread.baseline:.4g} ({spread.baseline_name})"
        each = " | ".join(f"{value:.4g}" for value in spread.values)
        lines.append(f"| {spread.measure} | {spread.mean:.4g} | {spread.deviation:.2g} | {cheap} | {each} |")
    minutes = sum(manifest.training.minutes for manifest in manifests)
    return "\n".join([*lines, "", f"{minutes:.0f} minutes in all, on {manifests[0].training.hardware}.", ""])


def publish_first(members: Sequence[Member], manifests: Sequence[Manifest], folder: Path, models_root: Path) -> Path:
    """Publish the first member's bundle, whatever its score; its card has the spread over all members.

    The same bundle is not published twice: where the series was published before, the path of then is returned.
    """
    run = RunFolder(folder / members[0].name)
    before = next((Path(entry["path"]) for entry in run.published() if (Path(entry["path"])).is_dir()), None)
    if before is not None and before.parents[1] == models_root.absolute():
        return before
    bundle = load_bundle(_bundle_in(run.path, members[0].recipe))
    of_measure = {spread.measure: f"mean of {len(members)} seeds {spread.sentence()}" for spread in spreads(manifests)}
    scores = tuple(
        score.model_copy(update={"detail": "; ".join(filter(None, (score.detail, of_measure.get(score.measure))))})
        for score in bundle.manifest.scores
    )
    name, version = bundle.manifest.name, bundle.manifest.version
    changes = {"scores": scores, "version": free_version(models_root, name, version)}
    manifest = bundle.manifest.model_copy(update=changes)
    staged = staging_folder(models_root, name)
    try:
        shutil.copytree(bundle.path, staged, dirs_exist_ok=True)
        path = publish_as_new(staged, models_root, manifest, bundle.examples)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    run.note_published(path, load_bundle(path).digest)
    return path
