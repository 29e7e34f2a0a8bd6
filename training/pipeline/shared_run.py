"""One run that the processes of `torchrun` share: the first one begins it, the others take part from a copy.

Nodes need no disk in common. The first process owns the run folder; its small files, and the checkpoint to resume from,
are sent to the others. Data files are read by each node from its own disk, and must be the same.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from service.distribution import installed_version
from service.errors import UnrollError
from training.config.comparison import differences
from training.config.recipe import Recipe
from training.data.digests import changed_names
from training.data.records import Record
from training.fit.coordination import StoppedTogether, launch_id, num_restarts
from training.fit.distributed import Workers
from training.fit.environment import library_versions
from training.fit.run_folder import RunFolder
from training.networks.build import build_network
from training.pipeline.run import Run
from training.preprocessing.load_records import load_data
from training.tasks.catalogue import training_task

#: What may differ from node to node: where the files are. Their content is compared.
_OWN_KEYS: Final = frozenset({"data.train", "data.dev"})
_LAUNCH: Final = "launch.json"
_SHOWN_DIGITS: Final = 12


def shared_run(
    begin: Callable[[], Run],
    path: Path,
    workers: Workers,
    recipe: Recipe | None = None,
    train: Sequence[Record] | None = None,
) -> Run:
    """The run that the first worker begins in `path`, as each worker sees it.

    `recipe` is what this worker was asked to train, None where the run folder alone says so; `train` holds the records
    of its training file if it has been read already.

    Raises:
        StoppedTogether: on all workers, if one of them has another recipe, other data or another version.
    """
    if workers.count == 1:
        return begin()
    begun: list[Run] = []

    def first() -> dict[str, bytes]:
        begun.append(begin())
        return begun[0].folder.contents()

    contents = workers.from_first(first)
    run = workers.together(lambda: begun[0] if begun else _taking_part(contents, path, recipe, train))
    _check_alike(run, workers)
    return run


def _taking_part(
    contents: Mapping[str, bytes], path: Path, recipe: Recipe | None, train: Sequence[Record] | None
) -> Run:
    """The run of the first worker, from the files of its folder and the data of this node."""
    folder = RunFolder(_copied(contents), writes=False, original=path)
    asked = folder.recipe()
    if recipe is not None:
        differing = differences(recipe, asked, ("there", "on node 0"), _OWN_KEYS)
        if differing:
            raise UnrollError(f"another recipe: {', '.join(differing)}; give every node the same command")
        asked = asked.model_copy(update={"data": recipe.data})
    task, vocabulary = training_task(asked), folder.vocabulary()
    data = load_data(task, asked, train)
    before, now = folder.source().splits, data.source.splits
    changed = changed_names(before, now)
    if changed:
        found = [f"{name} is {_short(now, name)} there and {_short(before, name)} on node 0" for name in changed]
        raise UnrollError(f"other data (sha256): {', '.join(found)}; give every node the same files")
    return Run(task, asked, data, vocabulary, folder, build_network(task, asked, vocabulary))


def _short(digests: Mapping[str, str], name: str) -> str:
    return f"{digests[name][:_SHOWN_DIGITS]}..." if name in digests else "missing"


def _copied(contents: Mapping[str, bytes]) -> Path:
    """A temporary folder with these files, removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="unroll-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def _check_alike(run: Run, workers: Workers) -> None:
    """Raises StoppedTogether on all workers where records or versions differ, such as those of a public data set."""
    facts = {
        "train records": str(len(run.data.train)),
        "dev records": str(len(run.data.dev)),
        "unroll": installed_version(),
        "torch": library_versions()["torch"],
    }
    first, *others = workers.gather(facts)
    for place, found in zip(workers.places[1:], others, strict=True):
        differing = [f"{key} {found[key]}, but {first[key]} on node 0" for key in facts if found[key] != first[key]]
        if differing:
            speaks = workers.link is not None and workers.link.place.speaks
            raise StoppedTogether(f"{place} has {'; '.join(differing)}: give every node the same", speaks)


def note_launch(folder: RunFolder) -> None:
    """Remember in a new run folder which launch of torchrun began it."""
    (folder.path / _LAUNCH).write_text(json.dumps({"launch": launch_id(os.environ)}) + "\n", encoding="utf-8")


def was_restarted(path: Path) -> bool:
    """Whether torchrun has restarted this process (`--max-restarts`) after it began the run in `path`."""
    if not num_restarts(os.environ):
        return False
    try:
        return bool(json.loads((path / _LAUNCH).read_bytes())["launch"] == launch_id(os.environ))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_checkpoint_at_first(path: Path, workers: Workers) -> None:
    """Raises UnrollError where another node has the checkpoint to go on from, and the first one has not."""
    here = workers.gather((path / "last.safetensors").is_file())
    if any(here) and not here[0]:
        owner = workers.places[here.index(True)]
        raise UnrollError(
            f"{path} has a checkpoint on {owner}, but not on {workers.places[0]}, which would begin anew: put it on a "
            "disk that all nodes share (--runs), or launch with fixed ranks (torchrun --node-rank)"
        )
