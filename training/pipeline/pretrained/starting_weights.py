"""Fine-tuning: a recogniser starts from the best weights of an earlier run, with its tokens and its scale of features.

The weights are copied into the folder of the new run, where every worker of a distributed run finds them, and what they
learned from is noted there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from service.bundle.load import file_digest
from service.bundle.manifest import DataSource
from service.bundle.tokenizer import UNK
from training.config.networks import TranscriberConfig
from training.config.recipe import ConfigFault, Recipe
from training.data.records import Record, Utterance
from training.fit.checkpoint import load_weights
from training.fit.run_folder import STARTED_FROM, RunFolder
from training.networks.network import Network
from training.preprocessing.tensor_file import CheckpointFault
from training.preprocessing.vocabulary import Vocabulary

#: Texts that an error message shows.
_MAX_SHOWN = 3


def starting_vocabulary(recipe: Recipe, path: Path, train: Sequence[Record]) -> Vocabulary:
    """Tokens and scale of the run that `recipe` starts from.

    Raises:
        ConfigFault: that run is no recogniser, has no weights yet, reads another signal, or cannot write the texts.
        RunFolderFault: the folder is no run.
    """
    earlier, where = RunFolder(path, writes=False), f"network.start_from: {path}"
    theirs = earlier.recipe()
    if not isinstance(theirs.network, TranscriberConfig):
        raise ConfigFault(f"{where} is for {theirs.task}; name the run of a speech recogniser")
    if not earlier.best_weights.is_file():
        raise ConfigFault(f"{where} has no trained weights yet: train it first")
    for table, own, other in (
        ("signal", recipe.signal, theirs.signal),
        ("tokenizer", recipe.tokenizer, theirs.tokenizer),
    ):
        known = other.model_dump()
        for key, value in own.model_dump().items():
            if value != known[key]:
                raise ConfigFault(f"{where} has {table}.{key} = {known[key]!r}, not {value!r}: both must be the same")
    vocabulary = earlier.vocabulary()
    tokenizer = vocabulary.tokenizers["text"]
    texts = [each.text for each in train if isinstance(each, Utterance) and UNK in tokenizer.encode(each.text)]
    if texts:
        shown = ", ".join(map(repr, texts[:_MAX_SHOWN]))
        raise ConfigFault(f"{where} cannot write {len(texts):,} texts of train, such as {shown}: spell them as it does")
    return vocabulary


def check_fits(network: Network, path: Path) -> None:
    """Raises ConfigFault if the best weights of the run at `path` are of another network."""
    try:
        load_weights(RunFolder(path, writes=False).best_weights, network)
    except CheckpointFault as error:
        raise ConfigFault(f"network.start_from: {error}; [network] must be that of {path}") from error


def adopt_weights(run: RunFolder, path: Path) -> None:
    """Copy the best weights of the run at `path` into the folder of a new run, and note what they learned from."""
    earlier = RunFolder(path, writes=False)
    source, weights = earlier.source(), {earlier.best_weights.name: file_digest(earlier.best_weights)}
    learnt_from = source.model_copy(update={"splits": {**source.splits, **weights}})
    sources = [each.model_dump() for each in (learnt_from, *sources_of_starting_weights(earlier))]
    (run.path / STARTED_FROM).write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(earlier.best_weights, run.starting_weights)


def sources_of_starting_weights(run: RunFolder) -> tuple[DataSource, ...]:
    """The data of the runs that a run started from; empty if it started from random weights."""
    noted = run.path / STARTED_FROM
    if not noted.is_file():
        return ()
    return tuple(DataSource.model_validate(each) for each in json.loads(noted.read_bytes()))
