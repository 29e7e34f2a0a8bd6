"""Small parsers with random weights, and drafts of their bundles."""

from __future__ import annotations

from service.bundle.task_options import ParsingOptions
from tests.training.exportable import LABELS, LIMITS, characters_tokenizer, lively, vocabulary_sizes, words_tokenizer
from tests.training.tiny_character_models import character_models
from training.config.parser import ParserConfig
from training.networks.parsing.parser import Parser, ParserSizes
from training.onnx_graph.manifest_draft import BundleDraft

RELATIONS = ("det", "nsubj", "obl", "punct", "root")
FEATURES = ("Number=Plur", "Number=Sing", "_")
OFFSETS = ("DET:+1", "NOUN:+1", "NOUN:-1", "ROOT", "VERB:+1", "VERB:-1")


def parser(decoder: str = "biaffine", features: int = len(FEATURES), **changes: object) -> Parser:
    """A parser of the words, characters and tags of `exportable`; `changes` are keys of its configuration."""
    sizes = {"hidden_size": 7, "word_size": 6, "character_size": 4, "character_hidden_size": 5}
    config = ParserConfig.model_validate(
        {"decoder": decoder, **sizes, "arc_size": 6, "relation_size": 4, **changes},
    )
    words, characters, labels = vocabulary_sizes()
    offsets = len(OFFSETS) if decoder == "labels" else 0
    vocabularies = ParserSizes(words, characters, labels, len(RELATIONS), features, offsets)
    models = character_models() if config.contextual else None
    return lively(Parser(config, vocabularies, models)).eval()


def draft_of_parser(network: Parser, name: str) -> BundleDraft:
    """A draft whose options and tokenizers match the network."""
    options = ParsingOptions(
        decoder=network.config.decoder,
        relations=RELATIONS,
        offsets=OFFSETS if network.sizes.offsets else (),
        features=FEATURES if network.sizes.features else (),
    )
    tokenizers = {"words": words_tokenizer(), "characters": characters_tokenizer()}
    return BundleDraft(name, options, tokenizers, LABELS, limits=LIMITS)
