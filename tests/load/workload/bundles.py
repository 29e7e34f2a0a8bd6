"""The benchmark's three bundles: random but seeded weights, real graphs, published and verified like any other.

The quality of the answers is irrelevant, but they must be comparable: sentences in which two labels are nearly equal
are excluded, and end tokens are so improbable that an answer always has its full number of steps.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence

import torch
from torch import nn

from service.bundle.load import read_manifest
from service.bundle.manifest import Limits, Variant
from service.bundle.task_options import GenerationOptions, TaggingOptions, TranslationOptions
from service.bundle.tokenizer import EOS, SPECIAL_TOKENS, TextTokenizer
from service.bundle.write import write_manifest
from service.errors import UnrollError
from tests.load.places import GENERATOR, MODELS, TAGGER, TRANSLATOR, bundle
from tests.load.workload.corpus import CHARACTERS, NUM_CHARACTERS, NUM_TRANSLATION_WORDS, NUM_WORDS
from training.config.networks import LanguageModelConfig, TaggerConfig, TranslatorConfig
from training.config.recipe import TokenizerConfig
from training.data.records import Passage, Record, TaggedSentence
from training.evaluation.task import Question
from training.networks.language_model import LanguageModel
from training.networks.tagger import Tagger
from training.networks.translator import Translator
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.vocabulary import fit_characters, word_tokenizer
from training.publish.export import export_bundle
from training.publish.variants import add_variant

NUM_LABELS = 18
LABELS = tuple(f"L{number}" for number in range(NUM_LABELS))

_PLAIN_WORDS = TokenizerConfig(cut="whitespace", lowercase=False, zero_digits=False)
_NEVER = -30.0


def build_bundles() -> list[str]:
    """Publish the missing bundles; return the names of all."""
    writers = {TAGGER: _write_tagger, GENERATOR: _write_generator, TRANSLATOR: _write_translator}
    missing = [name for name in writers if not (bundle(name) / "manifest.json").is_file()]
    MODELS.mkdir(parents=True, exist_ok=True)
    for name in missing:
        torch.manual_seed(len(name))
        writers[name]()
    for name, dev in {TAGGER: _tagged_at_random(), GENERATOR: _text_at_random()}.items():
        if name in missing:
            _add_faster_forms(name, dev)
    return missing


def _add_faster_forms(name: str, dev: Sequence[Record]) -> None:
    """Add int8 graphs, and bf16 if OpenVINO runs the same graphs; otherwise the report says so."""
    with contextlib.suppress(UnrollError):
        add_variant(bundle(name), "int8", lambda _: None, dev)
    manifest = read_manifest(bundle(name))
    # `prompt` passes the lengths of its rows to its operators, which that provider ignores.
    graphs = {graph: spec.file for graph, spec in manifest.graphs.items() if graph != "prompt"}
    # Random weights have no quality to lose, and the provider may be missing here: nothing is measured.
    unmeasured = {"measure": "none", "score": 0, "fp32_score": 0, "drop": 0, "max_difference": 0, "agreement": 100}
    bf16 = Variant.model_validate({"graphs": graphs, "depends_on_batch": False, **unmeasured})
    write_manifest(bundle(name), manifest.model_copy(update={"variants": {**manifest.variants, "bf16": bf16}}))


def _tagged_at_random() -> list[Record]:
    """Return sentences with random labels, which no precision can predict."""
    rng = random.Random(3)
    return [
        TaggedSentence(tuple(f"w{rng.randrange(1000)}" for _ in range(20)), tuple(rng.choices(LABELS, k=20)))
        for _ in range(200)
    ]


def _text_at_random() -> list[Record]:
    return [Passage("".join(random.Random(4).choices(CHARACTERS, k=6_400)))]


def words(number: int) -> TextTokenizer:
    """Return a vocabulary `w0`, `w1`, ... of `number` ids, special tokens included."""
    return TextTokenizer(word_tokenizer([f"w{i}" for i in range(number - len(SPECIAL_TOKENS))], _PLAIN_WORDS))


def _write_tagger() -> None:
    """Two bidirectional layers of 256 over 50,000 words of 128; 18 labels, no characters, no CRF."""
    config = TaggerConfig(hidden_size=256, layers=2, word_size=128, characters="none")
    network = Tagger(config, NUM_WORDS, NUM_CHARACTERS, NUM_LABELS)
    draft = BundleDraft(TAGGER, TaggingOptions(), {"words": words(NUM_WORDS)}, LABELS, limits=Limits())
    export_bundle(network, draft, [Question(_clear_sentence(network, length)) for length in (3, 5)], MODELS)


def _clear_sentence(network: Tagger, length: int, num_tried: int = 200) -> list[str]:
    """Return the random sentence with the largest label margin, so that lower precision does not change its labels."""
    ids = torch.randint(len(SPECIAL_TOKENS), NUM_WORDS, (num_tried, length))
    with torch.no_grad():
        emissions = network.eval().emissions(ids, ids, torch.full((num_tried,), length))
    best, second = emissions.topk(2).values.unbind(dim=2)
    clearest = int((best - second).min(dim=1).values.argmax())
    return [f"w{number - len(SPECIAL_TOKENS)}" for number in ids[clearest].tolist()]


def _write_generator() -> None:
    """Two LSTM layers of 512 over 65 characters of 64."""
    config = LanguageModelConfig(cell="lstm", embedding_size=64, hidden_size=512, layers=2)
    network = LanguageModel(config, NUM_CHARACTERS)
    _forbid_special_tokens(network.output)
    limits = Limits(max_input_tokens=8192, max_new_tokens=1024)
    draft = BundleDraft(GENERATOR, GenerationOptions(), {"text": fit_characters([CHARACTERS])}, limits=limits)
    export_bundle(network, draft, [Question("abc", {"max_new_tokens": 8})], MODELS)


def _write_translator() -> None:
    """GRU encoder (bidirectional) and decoder of 256 with additive attention; 8,000 words on each side.

    The input of the output layer has the size of an embedding. With 768, the size of state and context together, it is
    the dominant matrix product, as in translators without such a bottleneck.
    """
    config = TranslatorConfig(
        cell="gru",
        embedding_size=768,
        encoder_hidden_size=256,
        decoder_hidden_size=256,
        decoder_layers=1,
        attention_size=256,
        tie_embeddings=False,
    )
    network = Translator(config, NUM_TRANSLATION_WORDS, NUM_TRANSLATION_WORDS)
    _forbid_special_tokens(network.output)
    options = TranslationOptions(source_language="numbers", target_language="numbers", num_beams=1)
    tokenizer = words(NUM_TRANSLATION_WORDS)
    draft = BundleDraft(TRANSLATOR, options, {"source": tokenizer, "target": tokenizer})
    export_bundle(network, draft, [Question("w1 w20 w300", {"max_new_tokens": 8})], MODELS)


def _forbid_special_tokens(output: nn.Linear) -> None:
    with torch.no_grad():
        output.bias[: EOS + 1] = _NEVER
