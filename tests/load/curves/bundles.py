"""Small bundles of any vocabulary, and many copies of one: weights are random, as only the cost is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from service.bundle.load import read_manifest
from service.bundle.manifest import Limits
from service.bundle.task_options import GenerationOptions, TaggingOptions
from service.bundle.write import write_manifest
from tests.load.workload.bundles import LABELS, words
from tests.load.workload.corpus import NUM_CHARACTERS
from training.config.networks import LanguageModelConfig, TaggerConfig
from training.evaluation.task import Question
from training.networks.language_model import LanguageModel
from training.networks.tagger import Tagger
from training.onnx_graph.manifest_draft import BundleDraft
from training.publish.export import export_bundle

#: Words, characters and steps that no curve exceeds.
LIMITS = Limits(max_input_tokens=200_000, max_new_tokens=100_000)
_SEED = 3


def write_tagger(models: Path, num_words: int = 5_000, hidden_size: int = 64) -> None:
    """`tagger`: one bidirectional LSTM layer."""
    torch.manual_seed(_SEED)
    config = TaggerConfig(hidden_size=hidden_size, layers=1, word_size=32, characters="none")
    network = Tagger(config, num_words, NUM_CHARACTERS, len(LABELS))
    draft = BundleDraft("tagger", TaggingOptions(), {"words": words(num_words)}, LABELS, limits=LIMITS)
    export_bundle(network, draft, [Question(["w1", "w2", "w3"])], models)


def write_generator(models: Path, num_words: int = 5_000, hidden_size: int = 64) -> None:
    """`generator`: one LSTM layer over words, and an output for each word of the vocabulary."""
    torch.manual_seed(_SEED)
    config = LanguageModelConfig(cell="lstm", embedding_size=32, hidden_size=hidden_size, layers=1)
    network = LanguageModel(config, num_words)
    draft = BundleDraft("generator", GenerationOptions(), {"text": words(num_words)}, limits=LIMITS)
    export_bundle(network, draft, [Question("w1 w2", {"max_new_tokens": 4})], models)


def copy_often(bundle: Path, models: Path, count: int) -> None:
    """Publish a bundle under `count` names: `m0`, `m1` and so on."""
    for number in range(count):
        copied = models / f"m{number}" / "1"
        shutil.copytree(bundle, copied)
        write_manifest(copied, read_manifest(bundle).model_copy(update={"name": f"m{number}"}))
