"""A tiny parser that cuts text: a sentence ends with its full stop, or where a paragraph does; "du" is "de le"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.bundle.manifest import Manifest
from service.bundle.task_options import SegmenterOptions
from service.tasks.parsing.segmenter import SENTENCE_END
from tests.tiny_bundles import character_tokenizer, tiny_parser, write_tiny_bundle
from tests.tiny_graph import Graph, floats, ids

MODEL = "tiny-text-parser"


def write_text_parser(models_root: Path) -> Path:
    """Write the bundle under `models_root` and return its folder."""
    return write_tiny_bundle(models_root, "parsing", MODEL, build=_text_parser)


def _text_parser(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
    manifest = tiny_parser(folder, rng, name, version, decoder="biaffine")
    characters = character_tokenizer()
    characters.save(folder / "segmenter.json")
    scores = np.zeros((characters.vocabulary_size, 3), dtype=np.float32)
    scores[:, 0] = 3.0
    scores[characters.token_id("."), SENTENCE_END] = 9.0
    graph = Graph(rng)
    graph.node("Gather", [graph.constant("scores", scores, np.float32), "characters"], "boundary_logits")
    inputs = [ids("characters", "batch", "time"), ids("lengths", "batch")]
    spec = graph.save(folder / "segmenter.onnx", inputs, [floats("boundary_logits", "batch", "time", 3)])
    options = SegmenterOptions(window=32, margin=4, max_characters=400, expansions={"du": ("de", "le")})
    return manifest.model_copy(
        update={
            "options": manifest.options.model_copy(update={"segmenter": options}),
            "graphs": {**manifest.graphs, "segmenter": spec},
            "tokenizers": {**manifest.tokenizers, "segmenter": "segmenter.json"},
        }
    )
