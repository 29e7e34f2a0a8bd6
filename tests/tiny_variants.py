"""Adds int8 or bf16 variants without measurements to tiny bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from service.bundle.load import load_bundle
from service.bundle.manifest import Variant, VariantName
from service.bundle.write import write_manifest
from training.publish.int8 import int8_graph

STEP_GRAPHS = ("step", "decoder_step")

FIGURES: dict[str, Any] = {
    "measure": "accuracy",
    "score": 90.0,
    "fp32_score": 90.1,
    "drop": 0.1,
    "max_difference": 0.02,
    "agreement": 99.9,
}


def add_tiny_variant(path: Path, name: VariantName, *graphs: str, **figures: Any) -> Path:
    """Add a variant of these graphs to the bundle in `path`; returns its folder."""
    bundle = load_bundle(path)
    files = {graph: f"{graph}.int8.onnx" if name == "int8" else f"{graph}.onnx" for graph in graphs}
    if name == "int8":
        for graph, file in files.items():
            model = int8_graph(onnx.load(bundle.graph_path(graph)), is_step=graph in STEP_GRAPHS)
            (path / file).write_bytes(model.SerializeToString())
    variant = Variant(graphs=files, **(FIGURES | figures))
    write_manifest(path, bundle.manifest.model_copy(update={"variants": {**bundle.manifest.variants, name: variant}}))
    return path
