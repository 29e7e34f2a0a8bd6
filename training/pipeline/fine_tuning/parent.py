"""The model that fine-tuning starts from, with its network: a bundle, or the folder of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.bundle.load import MANIFEST_FILE, file_digest, load_bundle
from service.bundle.manifest import DataSource, ParentModel
from training.config.recipe import ConfigFault, Recipe
from training.config.start import StartConfig
from training.evaluation.task import TrainingTask
from training.fit.checkpoint import load_weights
from training.fit.run_folder import RunFolder
from training.networks.build import build_network
from training.networks.network import Network
from training.pipeline.fine_tuning.derived import parent_recipe
from training.pipeline.fine_tuning.restored_weights import restore_weights
from training.pipeline.pretrained.starting_weights import sources_of_starting_weights
from training.preprocessing.vocabulary import Vocabulary
from training.publish.verify import verify_bundle
from training.tasks.catalogue import training_task


@dataclass(frozen=True)
class Parent:
    """A network with its weights, the recipe and the vocabulary that it was built with, and the data behind it."""

    facts: ParentModel
    recipe: Recipe
    vocabulary: Vocabulary
    network: Network
    sources: tuple[DataSource, ...]
    #: Graphs of other networks that were added to the bundle, and have tokenizers of their names.
    added: tuple[str, ...] = ()

    @property
    def task(self) -> TrainingTask[Any]:
        return training_task(self.recipe)

    def is_body_of(self, recipe: Recipe) -> bool:
        """Whether it is a language model, whose layers a network of another task begins with."""
        other = recipe.task != self.recipe.task and self.recipe.network.learns_running_text
        return other and bool(training_task(recipe).body_settings(self.recipe.network))

    @property
    def title(self) -> str:
        """Its name and version."""
        return titled(self.facts)


def titled(facts: ParentModel) -> str:
    """Name and version of a parent, for people."""
    return f"{facts.name} version {facts.version}" if facts.version else f"the run {facts.name}"


def open_parent(start: StartConfig) -> Parent:
    """The model that `start.model` names.

    Raises:
        ConfigFault: it is neither a bundle nor a run; its task, its weights or its digest do not allow it.
        BundleError: the bundle is damaged.
        CannotRestore: the graphs do not give the weights back.
    """
    path = Path(start.model)
    recipe = parent_recipe(path)
    task = training_task(recipe)
    if not task.fine_tunes:
        raise ConfigFault(f"start.model: {path} is for {recipe.task}, which is not fine-tuned from a bundle yet")
    if task.character_models(recipe):
        raise ConfigFault(f"start.model: {path} reads with character models (network.contextual): train it anew")
    parent = _of_bundle(path, recipe, task) if (path / MANIFEST_FILE).is_file() else _of_run(path, recipe, task)
    if start.digest and start.digest != parent.facts.digest:
        raise ConfigFault(
            f"start.model: {path} has changed: its digest is {parent.facts.digest}, not {start.digest}; "
            "restore it, or leave start.digest out"
        )
    frozen = "" if start.freeze == "none" else start.freeze
    return replace(parent, facts=parent.facts.model_copy(update={"frozen": frozen}))


def _of_bundle(path: Path, recipe: Recipe, task: TrainingTask[Any]) -> Parent:
    bundle = load_bundle(path)
    manifest = bundle.manifest
    vocabulary = Vocabulary(
        {role: tokenizer for role, tokenizer in bundle.tokenizers.items() if role not in manifest.graphs},
        manifest.labels,
        text_labels=manifest.text_labels,
        signal_scale=task.blank_scale(recipe, manifest.options),
        label_sets=task.label_sets_of(manifest.options),
    )
    network = build_network(task, unfrozen(recipe), vocabulary)
    restore_weights(network, bundle)
    if vocabulary.signal_scale is not None:
        vocabulary = replace(vocabulary, signal_scale=task.restored_scale(network, vocabulary.signal_scale))
    report = verify_bundle(path, network)
    if not report.passed:
        raise ConfigFault(f"start.model: the network made of {path} answers differently: {report.failures[0]}")
    facts = ParentModel(name=manifest.name, version=manifest.version, digest=bundle.digest)
    added = tuple(graph for graph in manifest.graphs if graph not in network.graphs())
    return Parent(facts, recipe, vocabulary, network, manifest.training.data, added)


def _of_run(path: Path, recipe: Recipe, task: TrainingTask[Any]) -> Parent:
    folder = RunFolder(path, writes=False)
    if not folder.best_weights.is_file():
        raise ConfigFault(f"start.model: {path} has no trained weights yet: train it first")
    vocabulary = folder.vocabulary()
    network = build_network(task, unfrozen(recipe), vocabulary)
    load_weights(folder.best_weights, network)
    facts = ParentModel(name=recipe.name, digest=file_digest(folder.best_weights))
    sources = (folder.source(), *sources_of_starting_weights(folder))
    return Parent(facts, recipe, vocabulary, network, sources)


def unfrozen(recipe: Recipe) -> Recipe:
    """The recipe without what it started from itself."""
    return recipe.model_copy(update={"start": StartConfig()})
