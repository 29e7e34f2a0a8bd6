"""Weights that several graphs of a bundle hold alike, stored once beside them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

import onnx
from onnx import TensorProto
from onnx.external_data_helper import set_external_data

#: Smaller constants stay in their graphs, so that a graph is still a whole to whoever looks at one.
_MIN_BYTES = 1024
#: Where a tensor may begin in the file: a multiple of it, as processors like to read.
_ALIGNMENT = 64


def share_weights(models: Iterable[onnx.ModelProto], file: str) -> bytes:
    """Move what at least two graphs hold, byte for byte, out of them; returns the content of `file`, b"" if nothing.

    Afterwards the graphs refer to `file`, to be found in their own folder (ONNX calls this external data).
    """
    graphs = [[one for one in model.graph.initializer if len(one.raw_data) >= _MIN_BYTES] for model in models]
    num_graphs = Counter(values for tensors in graphs for values in {tensor.raw_data for tensor in tensors})
    content = bytearray()
    offsets: dict[bytes, int] = {}
    for tensor in itertools.chain.from_iterable(graphs):
        values = tensor.raw_data
        if num_graphs[values] == 1:
            continue
        if values not in offsets:
            content += bytes(-len(content) % _ALIGNMENT)
            offsets[values] = len(content)
            content += values
        _refer(tensor, file, offsets[values], len(values))
    return bytes(content)


def _refer(tensor: TensorProto, file: str, offset: int, length: int) -> None:
    set_external_data(tensor, file, offset=offset, length=length)
    tensor.ClearField("raw_data")
