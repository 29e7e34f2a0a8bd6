"""What fine-tuning gains and forgets: scores on dev of the new data and of the old, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import ParentModel, Score
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from training.config.recipe import Recipe
from training.data.records import Record
from training.evaluation.evaluate import evaluate_records
from training.evaluation.task import TrainingTask
from training.evaluation.torch_runner import TorchRunner, transitions_of
from training.fit.run_folder import PARENT_FILE, RunFolder
from training.networks.network import Network
from training.onnx_graph.manifest_draft import draft_bundle, draft_manifest
from training.pipeline.fine_tuning.parent import Parent, titled
from training.preprocessing.load_records import load_dev
from training.preprocessing.vocabulary import Vocabulary

NEW_DEV, OLD_DEV = "new dev", "old dev"
#: Records of the old dev that are scored, at equal distances, which bounds the time before training starts.
MAX_OLD_DEV = 2000

Say = Callable[[str], None]
Measures = dict[str, float]


class ParentNote(BaseModel):
    """What a run folder keeps of the model that the run started from: facts, recipe, and its scores by split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    facts: ParentModel
    config: dict[str, Any]
    before: dict[str, Measures]


class OldDev(NamedTuple):
    """Records of the old dev, and where they are from."""

    records: Sequence[Record]
    name: str


def note_parent(folder: RunFolder, parent: Parent, recipe: Recipe, new_dev: Sequence[Record]) -> None:
    """Score the parent as it is, and keep its facts and scores in the folder of the new run."""
    say = partial(folder.console.print, highlight=False, markup=False, soft_wrap=True)
    before = {} if parent.is_body_of(recipe) else _before(parent, recipe, new_dev, say)
    note = ParentNote(facts=parent.facts, config=parent.recipe.model_dump(mode="json"), before=before)
    (folder.path / PARENT_FILE).write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _before(parent: Parent, recipe: Recipe, new_dev: Sequence[Record], say: Callable[..., None]) -> dict[str, Measures]:
    """Scores of the parent on both devs, as far as the old one is at hand."""
    say(f"{parent.title}, before it learns:")
    before = {NEW_DEV: _of_parent(parent, new_dev)}
    say(f"  new dev ({len(new_dev):,} records): {_in_words(before[NEW_DEV])}")
    try:
        old = old_dev(parent.task, recipe, parent.recipe)
    except UnrollError as error:
        say(f"  old dev is not scored: {error}")
    else:
        if old is None:
            say("  old dev is not scored: name a labelled file of the earlier data with --old-dev")
        else:
            before[OLD_DEV] = _of_parent(parent, old.records)
            say(f"  old dev, {old.name} ({len(old.records):,} records): {_in_words(before[OLD_DEV])}")
    return before


def parent_note(folder: RunFolder) -> ParentNote | None:
    """What is kept of the model that a run started from; None for a run from random weights."""
    file = folder.path / PARENT_FILE
    return ParentNote.model_validate_json(file.read_bytes()) if file.is_file() else None


def parent_facts(folder: RunFolder) -> ParentModel | None:
    """The parent as the manifest names it."""
    note = parent_note(folder)
    return note.facts if note else None


def old_dev(task: TrainingTask[Any], recipe: Recipe, theirs: Recipe) -> OldDev | None:
    """Dev of the earlier data: the file that `recipe` names, or that of the parent's public data set; else None.

    Raises UnrollError where it cannot be read.
    """
    if recipe.start.old_dev:
        files = recipe.data.model_copy(
            update={"train": recipe.start.old_dev, "dev": recipe.start.old_dev, "dataset": ""}
        )
        plain = files.model_copy(update={"also": (), "hold_out": ""})
        records = list(load_dev(task, recipe.model_copy(update={"data": plain})).dev)
        name = Path(recipe.start.old_dev).name
    elif theirs.data.dataset:
        records, name = list(load_dev(task, theirs).dev), theirs.data.dataset
    else:
        return None
    every = max(1, -(-len(records) // MAX_OLD_DEV))
    return OldDev(records[::every], name)


def scores_after(
    folder: RunFolder, task: TrainingTask[Any], recipe: Recipe, staged: Path, scores: Sequence[Score], say: Say
) -> tuple[Score, ...]:
    """`scores` of a staged bundle, with those of both devs beside what its parent had; prints them as a table."""
    note = parent_note(folder)
    if note is None or not note.before:
        return tuple(scores)
    where: dict[str, str] = {}
    after: dict[str, Mapping[str, float]] = {NEW_DEV: {score.measure: score.value for score in scores}}
    if OLD_DEV in note.before:
        theirs = Recipe.model_validate(note.config)
        try:
            old = old_dev(task, recipe, theirs)
        except UnrollError as error:
            say(f"old dev is not scored again: {error}")
            old = None
        if old is not None:
            bundle = load_bundle(staged)
            after[OLD_DEV] = _measures(task, bundle, OrtRunner(bundle, "cpu", threads=1), old.records)
            where = {OLD_DEV: f"{old.name}, {len(old.records):,} records"}
    title = titled(note.facts)
    beside = [
        Score(
            measure=measure,
            value=found,
            baseline=note.before[split][measure],
            baseline_name=title,
            split=split,
            detail=where.get(split, ""),
        )
        for split, measures in after.items()
        for measure, found in measures.items()
        if measure in note.before[split]
    ]
    for line in _table(title, beside):
        say(line)
    return (*scores, *beside)


def _of_parent(parent: Parent, records: Sequence[Record]) -> Measures:
    bundle = _described(parent.task, parent.recipe, parent.vocabulary, parent.network)
    return _measures(parent.task, bundle, TorchRunner(parent.network), records)


def _described(task: TrainingTask[Any], recipe: Recipe, vocabulary: Vocabulary, network: Network) -> Bundle:
    """A bundle in memory, whose graphs are run by torch."""
    graphs = {name: graph.spec(f"{name}.onnx") for name, graph in network.graphs().items()}
    files = {role: f"{role}.json" for role in vocabulary.tokenizers}
    draft = draft_bundle(recipe, vocabulary, task.options(recipe, vocabulary))
    manifest = draft_manifest(draft, network, graphs, files)
    return Bundle(Path(), manifest, dict(vocabulary.tokenizers), transitions=transitions_of(network))


def _measures(task: TrainingTask[Any], bundle: Bundle, runner: Any, records: Sequence[Record]) -> Measures:
    """The reported measures of the answers, asked as when a bundle is published."""
    found = evaluate_records(task, bundle, runner, records, parameters=task.analysis_parameters, progress=True)
    return {name: float(found[name]) for name in task.reported if name in found}


def _in_words(measures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in measures.items())


def _table(title: str, scores: Sequence[Score]) -> list[str]:
    """Lines of a table: split, measure, before, after."""
    rows = [(s.split, s.measure, f"{s.baseline:.2f}", f"{s.value:.2f}") for s in scores]
    header = ("", "", title, "now")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
