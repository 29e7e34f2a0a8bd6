"""Drafts a bundle's manifest from recipe, vocabulary and network, before files are written and parity is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.bundle.manifest import (
    CaptioningOptions,
    ClassificationOptions,
    ForecastingOptions,
    FramesSpec,
    GenerationOptions,
    GraphSpec,
    Limits,
    Manifest,
    Score,
    StateSpec,
    TaggingOptions,
    TaskOptions,
    TrainingFacts,
    TranslationOptions,
    WaveformSpec,
)
from service.bundle.tokenizer import TextTokenizer
from training.config.networks import CaptionerConfig, ForecasterConfig, TaggerConfig, TranslatorConfig
from training.config.recipe import Recipe
from training.config.signals import SignalConfig
from training.data.readers.schemes import span_scheme
from training.networks.network import Network, next_name
from training.preprocessing.series_scale import SeriesScale
from training.preprocessing.signal_scale import SignalScale
from training.preprocessing.vocabulary import Vocabulary


def draft_bundle(recipe: Recipe, vocabulary: Vocabulary, facts: TrainingFacts | None = None) -> BundleDraft:
    """The bundle's description, without weights."""
    return BundleDraft(
        name=recipe.name,
        version=recipe.version,
        options=task_options(recipe, vocabulary),
        tokenizers=vocabulary.tokenizers,
        labels=vocabulary.labels,
        text_labels=vocabulary.text_labels,
        description=recipe.description,
        language=recipe.language,
        licence=recipe.licence,
        limits=recipe.limits,
        training=facts or TrainingFacts(),
    )


def task_options(recipe: Recipe, vocabulary: Vocabulary) -> TaskOptions:
    """The options of the task, which tell the service how to decode the network's output."""
    network = recipe.network
    if isinstance(network, TaggerConfig):
        return TaggingOptions(
            decoder=network.decoder,
            scheme=span_scheme([vocabulary.labels]),
            max_word_characters=network.max_word_characters,
        )
    if isinstance(network, TranslatorConfig):
        return TranslationOptions(
            source_language=network.source_language,
            target_language=network.target_language,
            num_beams=network.num_beams,
            length_penalty=network.length_penalty,
        )
    if network.task == "classification":
        if vocabulary.signal_scale is not None:
            spec = signal_spec(recipe.signal, vocabulary.signal_scale)
            return ClassificationOptions(signal=spec, outside_label=network.outside_label)
        return ClassificationOptions(
            max_word_characters=network.max_word_characters, outside_label=network.outside_label
        )
    if isinstance(network, ForecasterConfig):
        assert vocabulary.scale is not None
        return forecasting_options(network, vocabulary.scale)
    if isinstance(network, CaptionerConfig):
        return CaptioningOptions(
            image_rows=network.image_rows,
            image_columns=network.image_columns,
            grid_rows=network.grid_rows,
            grid_columns=network.grid_columns,
            num_beams=network.num_beams,
            length_penalty=network.length_penalty,
        )
    return GenerationOptions(unit=recipe.tokenizer.unit)


def signal_spec(config: SignalConfig, scale: SignalScale) -> FramesSpec | WaveformSpec:
    """The input of a signal classifier."""
    if config.kind == "frames":
        return FramesSpec(features=scale.features)
    return WaveformSpec(sample_rate_hz=config.sample_rate_hz, samples_per_step=config.samples_per_step)


def forecasting_options(config: ForecasterConfig, scale: SeriesScale) -> ForecastingOptions:
    """The options of a forecasting bundle."""
    return ForecastingOptions(
        channels=scale.channels,
        targets=scale.targets,
        deviations=scale.target_deviations,
        look_back=config.look_back,
        horizon=config.horizon,
        period=config.period,
        quantiles=config.quantiles,
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
