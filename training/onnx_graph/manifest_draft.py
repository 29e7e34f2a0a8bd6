"""Drafts a bundle's manifest from recipe, vocabulary and network, before files are written and parity is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.bundle.manifest import GraphSpec, Limits, Manifest, Score, StateSpec, TrainingFacts
from service.bundle.task_options import TaskOptions
from service.bundle.tokenizer import TextTokenizer
from training.config.recipe import Recipe
from training.networks.network import Network, next_name
from training.preprocessing.vocabulary import Vocabulary


def draft_bundle(
    recipe: Recipe, vocabulary: Vocabulary, options: TaskOptions, facts: TrainingFacts | None = None
) -> BundleDraft:
    """The bundle's description, without weights. `options` are those that the task derives from the recipe."""
    return BundleDraft(
        name=recipe.name,
        version=recipe.version,
        options=options,
        tokenizers=vocabulary.tokenizers,
        labels=vocabulary.labels,
        text_labels=vocabulary.text_labels,
        description=recipe.description,
        language=recipe.language,
        licence=recipe.licence,
        limits=recipe.limits,
        training=facts or TrainingFacts(),
    )


@dataclass(frozen=True)
class BundleDraft:
    """The parts of a manifest that do not follow from the network or the files of the bundle."""

    name: str
    options: TaskOptions
    tokenizers: Mapping[str, TextTokenizer]
    labels: tuple[str, ...] = ()
    text_labels: tuple[str, ...] = ()
    version: str = "1"
    description: str = ""
    language: str = ""
    licence: str = ""
    limits: Limits = field(default_factory=Limits)
    training: TrainingFacts = field(default_factory=TrainingFacts)
    scores: tuple[Score, ...] = ()


def draft_manifest(
    draft: BundleDraft, network: Network, graphs: dict[str, GraphSpec], tokenizer_files: dict[str, str]
) -> Manifest:
    """The manifest without digests of files and without parity."""
    return Manifest(
        name=draft.name,
        version=draft.version,
        task=draft.options.task,
        description=draft.description,
        language=draft.language,
        licence=draft.licence,
        options=draft.options,
        graphs=graphs,
        state=state_specs(network),
        labels=draft.labels,
        text_labels=draft.text_labels,
        limits=draft.limits,
        tokenizers=tokenizer_files,
        training=draft.training.model_copy(update={"parameters": num_parameters(network)}),
        scores=draft.scores,
    )


def state_specs(network: Network) -> tuple[StateSpec, ...]:
    """The tensors of recurrent state, with the names of their inputs and outputs."""
    return tuple(
        StateSpec(name=name, next_name=next_name(name), layers=shape.layers, width=shape.width)
        for name, shape in network.state_shapes.items()
    )


def num_parameters(network: Network) -> int:
    """The number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in network.parameters())
