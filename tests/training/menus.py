"""The menus: networks of every kind, with settings combined so that each choice of a recipe is covered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from service.bundle.tokenizer import EOS
from tests.tiny_signals import CONFIGS, STEPWISE, signal_network
from tests.training.exportable import characters_tokenizer, lively, vocabulary_sizes, words_tokenizer
from tests.training.tiny_captioner import captioner
from tests.training.tiny_character_models import contextual_tagger
from tests.training.tiny_series import forecaster
from tests.training.tiny_speech import FRAMES, SOUND, transcriber, transducer
from tests.training.trees.tiny_parsers import parser
from training.config.networks import ClassifierConfig, LanguageModelConfig, TaggerConfig, TranslatorConfig
from training.networks.classifier import Classifier
from training.networks.language_model import LanguageModel
from training.networks.layers.attention import AdditiveAttention
from training.networks.network import Network
from training.networks.tagger import Tagger
from training.networks.translator import Translator

_SMALL = {"hidden_size": 7, "layers": 2, "character_size": 4, "character_hidden_size": 5}
TEXT_STACKS = list(product(("none", "residual", "highway"), (False, True), (True, False)))
_READERS = ("cnn", "rnn", "none")
_CELLS = ("lstm", "gru", "gru_before", "rnn")
_POOLINGS = ("max", "last", "max+mean", "last+max+mean", "attention", "mean")
_FEED_FORWARD = {f"classifier-{kind.replace('+', '-')}": kind for kind in _POOLINGS if "last" not in kind}
_TIES: tuple[dict[str, Any], ...] = (
    {"embedding_size": 9},
    {"embedding_size": 7, "tie_embeddings": True},
    {"embedding_size": 5, "tie_embeddings": True},
)
LANGUAGE_MODEL_STACKS = list(product(("none", "residual", "highway"), (False, True)))
_SMALL_TRANSLATOR = {"embedding_size": 6, "encoder_hidden_size": 4, "decoder_hidden_size": 8, "attention_size": 5}
#: Cell, attention, input feeding, coverage, decoder layers.
TRANSLATORS: dict[str, tuple[str, str, bool, bool, int]] = {
    "fed": ("lstm", "additive", True, False, 2),
    "covered": ("gru", "additive", False, True, 2),
    "fed-and-covered": ("lstm", "additive", True, True, 1),
    "elman-covered": ("rnn", "additive", False, True, 1),
    "luong": ("gru", "general", True, False, 1),
    "luong-general": ("lstm", "general", False, False, 2),
    "luong-dot": ("rnn", "plain_dot", False, False, 1),
    "luong-dot-fed": ("lstm", "plain_dot", True, False, 2),
    "projected-fed": ("gru", "dot", True, False, 2),
    "reset-before": ("gru_before", "additive", True, True, 2),
    "copying": ("lstm", "additive", False, False, 1),
    "copying-fed-and-covered": ("gru", "additive", True, True, 2),
}


def _choice(number: int) -> dict[str, object]:
    """The stack with that number, with the other settings in rotation."""
    connection, layer_norm, bidirectional = TEXT_STACKS[number]
    dishes = {"connection": connection, "layer_norm": layer_norm, "bidirectional": bidirectional}
    return {**_SMALL, **dishes, "cell": _CELLS[(number + number // 4) % 4], "characters": _READERS[(number // 2) % 3]}


def _tagger(number: int) -> Network:
    decoder, joint = ("crf", "softmax")[number % 2], number % 4 != 1
    pooling = {"joint": joint, "text_pooling": _POOLINGS[number % 6]}
    config = TaggerConfig.model_validate({**_choice(number), "word_size": 6, "decoder": decoder, **pooling})
    words, characters, labels = vocabulary_sizes()
    return lively(Tagger(config, words, characters, labels, text_labels=3 if joint else 0))


def _classifier(number: int) -> Network:
    config = ClassifierConfig.model_validate(
        {**_choice(number), "embedding_size": 6, "pooling": _POOLINGS[number % 6], "locked_dropout": number % 2 == 0}
    )
    words, characters, labels = vocabulary_sizes()
    return lively(Classifier(config, words, labels, characters))


def _feed_forward(pooling: str) -> Network:
    """A classifier without recurrence of one or two layers, wide enough that no layer is entirely negative."""
    characters = "cnn" if pooling == "mean" else "none"
    sizes = {"hidden_size": 24, "embedding_size": 6, "character_size": 4, "character_hidden_size": 5}
    config = ClassifierConfig.model_validate(
        {**sizes, "cell": "none", "pooling": pooling, "characters": characters, "layers": 1 + (pooling == "mean")}
    )
    words, spellings, labels = vocabulary_sizes()
    return lively(Classifier(config, words, labels, spellings))


def menu_text_networks() -> Iterator[tuple[str, Network]]:
    """Taggers and classifiers of text."""
    for number in range(len(TEXT_STACKS)):
        yield f"tagger-{number}", _tagger(number)
        yield f"classifier-{number}", _classifier(number)
    yield f"tagger-{len(TEXT_STACKS) + 1}", contextual_tagger("gru", decoder="crf")
    for name, pooling in _FEED_FORWARD.items():
        yield name, _feed_forward(pooling)


def menu_language_model(number: int) -> LanguageModel:
    """The stack with that number, cells and ties in rotation; all regularisation is on, as inference must ignore it."""
    connection, layer_norm = LANGUAGE_MODEL_STACKS[number % len(LANGUAGE_MODEL_STACKS)]
    config = LanguageModelConfig.model_validate(
        {"connection": connection, "layer_norm": layer_norm, "layers": 1 + number % 3, "hidden_size": 7}
        | {"cell": _CELLS[(number + number // 4) % 4], **_TIES[(number + number // 3) % 3]}
        | {"weight_drop": 0.5, "embedding_dropout": 0.3, "input_dropout": 0.4, "layer_dropout": 0.2}
        | {"locked_dropout": ("none", "layers", "all")[number % 3], "activation_penalty": 2.0, "change_penalty": 1.0}
        | {"sampled_softmax": 5 * (number % 2), "random_window": True}
    )
    network = lively(LanguageModel(config, characters_tokenizer().vocabulary_size))
    with torch.no_grad():
        network.output.bias[EOS] = -100.0  # no text ends before its requested length
    return network


def menu_translator(name: str) -> Translator:
    """The translator of that name in `TRANSLATORS`."""
    cell, attention, feeds, covers, layers = TRANSLATORS[name]
    choice = {"cell": cell, "attention": attention, "input_feeding": feeds, "coverage": covers}
    copies = {"copying": True, "label_smoothing": 0.0} if name.startswith("copying") else {}
    config = TranslatorConfig.model_validate({**_SMALL_TRANSLATOR, **choice, **copies, "decoder_layers": layers})
    size = words_tokenizer().vocabulary_size
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = lively(Translator(config, size, size, max_source_tokens=9))
    if copies and not covers and isinstance(network.attention, AdditiveAttention):
        torch.nn.init.constant_(network.attention.energy.weight, 0.1)  # looks at every word, not at the end alone
    if network.generate is not None:
        torch.nn.init.constant_(network.generate.bias, -3.0)  # copies more often than not
    return network


def menu_networks() -> Iterator[tuple[str, Network]]:
    """One network of each kind and choice: of text, language models, translators and numeric inputs."""
    yield from menu_text_networks()
    for number in range(2 * len(LANGUAGE_MODEL_STACKS)):
        yield f"language-model-{number}", menu_language_model(number)
    for name in TRANSLATORS:
        yield f"translator-{name}", menu_translator(name)
    for cell in _CELLS:
        yield f"captioner-{cell}", captioner(cell=cell)
        yield f"forecaster-{cell}", forecaster(cell=cell)
        yield f"frames-{cell}", signal_network(CONFIGS["frames"], cell=cell)
        yield f"waveform-{cell}", signal_network(CONFIGS["waveform"], cell=cell)
        yield f"frames-in-chunks-{cell}", signal_network(STEPWISE, reads_chunks=True, cell=cell)
        yield f"speech-{cell}", transcriber(SOUND, cell=cell)
        yield f"speech-transducer-{cell}", transducer(SOUND, cell=cell)
    for decoder in ("biaffine", "labels"):
        yield f"parser-{decoder}", parser(decoder=decoder)
    yield "speech-frames", transcriber(FRAMES, bidirectional=True)
    yield "forecaster-quantiles", forecaster(mixing="joint", quantiles=(0.1, 0.5, 0.9))
