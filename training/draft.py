"""What a recipe and a vocabulary say about the bundle to come."""

from __future__ import annotations

from collections.abc import Sequence

from service.bundle.manifest import (
    ClassificationOptions,
    GenerationOptions,
    TaggingOptions,
    TaskOptions,
    TrainingFacts,
    TranslationOptions,
)
from training.config import Recipe, TaggerConfig, TranslatorConfig
from training.datasets.schemes import span_scheme
from training.export import BundleDraft
from training.vocabulary import Vocabulary


def draft_bundle(recipe: Recipe, vocabulary: Vocabulary, facts: TrainingFacts | None = None) -> BundleDraft:
    """The bundle's description, without weights."""
    return BundleDraft(
        name=recipe.name,
        version=recipe.version,
        options=task_options(recipe, vocabulary.labels),
        tokenizers=vocabulary.tokenizers,
        labels=vocabulary.labels,
        description=recipe.description,
        language=recipe.language,
        licence=recipe.licence,
        limits=recipe.limits,
        training=facts or TrainingFacts(),
    )


def task_options(recipe: Recipe, labels: Sequence[str]) -> TaskOptions:
    """How the service is to read the network's output."""
    network = recipe.network
    if isinstance(network, TaggerConfig):
        return TaggingOptions(
            decoder=network.decoder,
            scheme=span_scheme([labels]),
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
        return ClassificationOptions()
    return GenerationOptions(unit="character" if recipe.tokenizer.unit == "character" else "subword")
