"""Prepare a run that starts from another model: its vocabulary, and its weights in the shapes of the new network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from training.config.recipe import ConfigFault, Recipe
from training.data.records import Record
from training.fit.checkpoint import save_weights
from training.fit.run_folder import STARTED_FROM, RunFolder
from training.networks.network import Network
from training.pipeline.fine_tuning.growth import Grown, adopt_body, grow_weights, grown_vocabulary
from training.pipeline.fine_tuning.parent import Parent
from training.pipeline.fine_tuning.scores import note_parent
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import training_task

#: Keys of [tokenizer] that only matter while a vocabulary is fitted.
_OF_FITTING = frozenset({"min_count", "vocabulary_size", "vectors", "max_vectors"})


def vocabulary_from(parent: Parent, recipe: Recipe, train: Sequence[Record]) -> Grown:
    """The parent's vocabulary with what is new in `train`. Words are added only where their vectors are learned.

    Raises ConfigFault where the recipe cuts texts otherwise than the parent, or the parent cannot spell them.
    """
    check_recipe(parent, recipe)
    fresh = training_task(recipe).fit_vocabulary(recipe, train)
    known, found = parent.vocabulary.signal_scale, fresh.signal_scale
    if known is not None and found is not None and known.features != found.features:
        raise ConfigFault(
            f"{parent.title} reads the features {', '.join(known.features)}; train has {', '.join(found.features)}"
        )
    kept, words = training_task(recipe).kept_label_sets, recipe.start.freeze == "none"
    grown = grown_vocabulary(parent.vocabulary, fresh, parent.title, words=words, kept=kept)
    remarks = [*grown.remarks, *_about_added(parent), _about_training(parent, recipe)]
    return replace(grown, remarks=tuple(remarks))


def check_recipe(parent: Parent, recipe: Recipe) -> None:
    """Raises ConfigFault where a recipe is for another task than the parent, or cuts texts otherwise."""
    theirs = parent.recipe
    if theirs.signal.kind != recipe.signal.kind or not (recipe.task == theirs.task or parent.is_body_of(recipe)):
        raise ConfigFault(f"start.model: {parent.title} is for {theirs.task}, the recipe is for {recipe.task}")
    known = theirs.tokenizer.model_dump(exclude=set(_OF_FITTING))
    for key, value in recipe.tokenizer.model_dump(exclude=set(_OF_FITTING)).items():
        if value != known[key]:
            raise ConfigFault(
                f"tokenizer.{key} is {value!r}, but {parent.title} has {known[key]!r}: its tokenizer is kept"
            )


def weights_from(parent: Parent, network: Network, recipe: Recipe, vocabulary: Vocabulary) -> None:
    """Give a new network the weights of the parent. Raises ConfigFault where their shapes do not fit."""
    try:
        if parent.is_body_of(recipe):
            renamed = training_task(recipe).body_weight
            adopt_body(network, parent.network, renamed, parent.vocabulary, vocabulary)
        else:
            grow_weights(network, parent.network, parent.vocabulary, vocabulary)
    except ValueError as error:
        raise ConfigFault(_does_not_fit(parent, recipe, str(error))) from error


def adopt_parent(
    folder: RunFolder, parent: Parent, recipe: Recipe, network: Network, new_dev: Sequence[Record]
) -> None:
    """Keep the first weights, what they learned from, and the parent's scores in the folder of a new run."""
    save_weights(folder.starting_weights, network)
    sources = [source.model_dump() for source in parent.sources]
    (folder.path / STARTED_FROM).write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    note_parent(folder, parent, recipe, new_dev)


def _about_added(parent: Parent) -> list[str]:
    if not parent.added:
        return []
    names = ", ".join(parent.added)
    return [f"{parent.title} also has the graph {names}, which does not learn here: `unroll export` adds it anew"]


def _about_training(parent: Parent, recipe: Recipe) -> str:
    """How it learns further, beside how the parent learned."""
    own, theirs = recipe.training, parent.recipe.training
    frozen = "" if recipe.start.freeze == "none" else f"; the {recipe.start.freeze} kept as they are"
    return (
        f"learning rate {own.learning_rate:g} ({parent.title} had {theirs.learning_rate:g}), "
        f"at most {own.epochs} epochs, batches of {own.batch_size}{frozen}"
    )


def _does_not_fit(parent: Parent, recipe: Recipe, weight: str) -> str:
    theirs, own = parent.recipe.network.model_dump(), recipe.network.model_dump()
    shared = [key for key in own if key in theirs and key != "task"]
    differing = [f"network.{key} is {own[key]!r}, not {theirs[key]!r}" for key in shared if own[key] != theirs[key]]
    free = [f"network.{key}" for key in own if "dropout" in key]
    what = "; ".join(differing) or f"the weight {weight} has another shape"
    return (
        f"start.model: the network must be that of {parent.title}: {what}. What may change: training.*, limits.*, "
        f"augment.*{''.join(', ' + key for key in free)}"
    )
