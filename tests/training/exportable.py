"""Small networks with random weights, and the means to export bundles of them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from service.bundle.manifest import Limits, Score
from service.bundle.task_options import ClassificationOptions, GenerationOptions, TaggingOptions, TranslationOptions
from service.bundle.tokenizer import TextTokenizer
from training.config.networks import Cell, ClassifierConfig, LanguageModelConfig, TaggerConfig, TranslatorConfig
from training.config.recipe import TokenizerConfig
from training.evaluation.task import Question
from training.networks.classifier import Classifier
from training.networks.language_model import LanguageModel
from training.networks.tagger import Tagger
from training.networks.translator import Translator
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.vocabulary import fit_characters, word_tokenizer

WORDS = ("the", "a", "cat", "dog", "bird", "mat", "tree", "sat", "ran", "flew", "on", "to", "over", "big", "red", "old")
NetworkT = TypeVar("NetworkT", bound=nn.Module)
LABELS = ("DET", "NOUN", "VERB", "OTHER")
TEXT_LABELS = ("Greeting", "Question", "Other")
LIMITS = Limits(max_input_tokens=40, max_new_tokens=12)
#: None of them is in `WORDS`.
UNKNOWN_WORDS = Question("Timbuktu Zebras Okapis Quaggas", {"num_beams": 1})
CELLS: tuple[Cell, ...] = ("lstm", "gru", "rnn")


def words_tokenizer() -> TextTokenizer:
    return TextTokenizer(word_tokenizer(WORDS, TokenizerConfig()))


def characters_tokenizer() -> TextTokenizer:
    return fit_characters([" ".join(WORDS)])


def vocabulary_sizes() -> tuple[int, int, int]:
    """The sizes of the word, character and label vocabularies."""
    return words_tokenizer().vocabulary_size, characters_tokenizer().vocabulary_size, len(LABELS)


def tagger(
    cell: Cell = "lstm",
    characters: str = "cnn",
    decoder: str = "softmax",
    layers: int = 2,
    bidirectional: bool = True,
    text_pooling: str = "",
) -> Tagger:
    """A tagger; with `text_pooling` it is joint and also labels the text."""
    config = TaggerConfig.model_validate(
        {"cell": cell, "characters": characters, "decoder": decoder, "layers": layers, "hidden_size": 12}
        | {"word_size": 10, "character_size": 6, "character_hidden_size": 7, "bidirectional": bidirectional}
        | ({"joint": True, "text_pooling": text_pooling} if text_pooling else {})
    )
    return lively(Tagger(config, *vocabulary_sizes(), text_labels=len(TEXT_LABELS) if text_pooling else 0))


def classifier(cell: Cell = "lstm", pooling: str = "attention", bidirectional: bool = True) -> Classifier:
    config = ClassifierConfig.model_validate(
        {"cell": cell, "pooling": pooling, "bidirectional": bidirectional, "hidden_size": 12, "embedding_size": 8}
    )
    return lively(Classifier(config, words_tokenizer().vocabulary_size, len(LABELS)))


def translator(cell: Cell = "lstm", attention: str = "additive", decoder_layers: int = 2) -> Translator:
    config = TranslatorConfig.model_validate(
        {"cell": cell, "attention": attention, "decoder_layers": decoder_layers, "embedding_size": 10}
        | {"encoder_hidden_size": 9, "decoder_hidden_size": 11, "attention_size": 8}
    )
    size = words_tokenizer().vocabulary_size
    return lively(Translator(config, size, size))


def language_model(cell: Cell = "lstm", layers: int = 2, tie_embeddings: bool = False) -> LanguageModel:
    config = LanguageModelConfig(
        cell=cell, layers=layers, tie_embeddings=tie_embeddings, embedding_size=12, hidden_size=12
    )
    return lively(LanguageModel(config, characters_tokenizer().vocabulary_size))


def lively(network: NetworkT) -> NetworkT:
    """Perturb the initial weights, whose small values and zero biases would hide a wrong gate."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.4)
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                module.weight[0] = 0.0
    return network


def draft_of(network: nn.Module, name: str = "tiny") -> BundleDraft:
    """A draft whose task and tokenizers match the network."""
    words = words_tokenizer()
    score = Score(measure="accuracy", value=91.234, baseline=80.0, baseline_name="majority")
    match network:
        case Tagger():
            options = TaggingOptions(decoder="crf" if network.crf else "softmax")
            tokenizers = {"words": words, "characters": characters_tokenizer()}
            text_labels = TEXT_LABELS if network.text_head else ()
            return BundleDraft(name, options, tokenizers, LABELS, text_labels, limits=LIMITS, scores=(score,))
        case Classifier():
            tokenizers = {
                "text": words,
                **({"characters": characters_tokenizer()} if network.character_features else {}),
            }
            return BundleDraft(name, ClassificationOptions(), tokenizers, LABELS, limits=LIMITS)
        case Translator():
            copying = network.generate is not None
            languages = TranslationOptions(source_language="English", target_language="English", copying=copying)
            return BundleDraft(name, languages, {"source": words, "target": words}, limits=LIMITS)
        case _:
            return BundleDraft(name, GenerationOptions(), {"text": characters_tokenizer()}, limits=LIMITS)


def questions_of(network: nn.Module) -> list[Question]:
    """Two inputs of the network's task."""
    if isinstance(network, LanguageModel):
        greedy, drawn = {"max_new_tokens": 8, "details": True}, {"max_new_tokens": 8, "do_sample": True, "seed": 3}
        return [Question("the cat", greedy), Question("a dog ran", drawn)]
    if isinstance(network, Translator):
        asked = [Question("the big cat sat"), Question("a bird flew", {"return_attention": True, "num_beams": 2})]
        return asked if network.generate is None else [*asked, UNKNOWN_WORDS]
    return [Question("the big cat sat on the mat"), Question("an unknown zebra ran")]
