"""Estimate of the memory that an open bundle takes, from the sizes of its files.

Measured on the twelve shipped bundles (resident memory before and after opening and self-check): onnxruntime keeps each
weight twice, as it came and repacked for its kernels, and weights that several graphs share once more for each; a
tokenizer takes four times its file. The sum of the estimates is within 5 % of the sum of the measurements, single ones
within 45 %; that of a bundle with a graph of 35 KB, of which there may be hundreds, within 20 %. A measurement of the
process would be disturbed by all else that happens meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from service.bundle.load import WEIGHTS_FILE
from service.bundle.manifest import Manifest

_GRAPH_FACTOR, _SHARED_FACTOR, _TOKENIZER_FACTOR = 2, 4, 4
#: Sessions, tensors of a first run, Python objects.
_BASE_BYTES = 300_000


def estimated_bytes(path: Path, manifest: Manifest) -> int:
    """Resident memory of the bundle in folder `path` when it is open. Raises OSError for a file that is missing."""
    graphs = sum(_size(path / spec.file) for spec in manifest.graphs.values())
    tokenizers = sum(_size(path / file) for file in manifest.tokenizers.values())
    shared = _size(path / WEIGHTS_FILE) if WEIGHTS_FILE in manifest.files else 0
    return _BASE_BYTES + _GRAPH_FACTOR * graphs + _SHARED_FACTOR * shared + _TOKENIZER_FACTOR * tokenizers


def _size(file: Path) -> int:
    return file.stat().st_size
