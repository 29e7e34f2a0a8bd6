"""Stored weights: rounding to half precision, and external data for weights that several graphs of a bundle share.

The network is rounded before its graphs are written, so that torch and the graphs use the same numbers.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import onnx
import torch
from onnx import TensorProto
from onnx.external_data_helper import set_external_data
from torch import nn

#: Smaller constants stay in their graphs, which keeps the graphs readable on their own.
_MIN_BYTES = 1024
#: Alignment of tensors in the file, in bytes.
_ALIGNMENT = 64


def share_weights(models: Iterable[onnx.ModelProto], file: str) -> bytes:
    """Replace tensors that at least two graphs have in common by references; returns the content of `file`.

    The graphs then refer to `file` in their own folder (ONNX external data). The content is empty if none are shared.
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


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def round_to_half(network: NetworkT) -> NetworkT:
    """A copy of `network`, still float32, whose weights are all representable in float16. Tied weights stay tied.

    Raises:
        ValueError: a weight is finite but beyond the range of float16 (65504).
    """
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for name, tensor in [*rounded.named_parameters(), *rounded.named_buffers()]:
            if tensor.dtype == torch.float32:
                half = tensor.half().float()
                if not torch.equal(half.isfinite(), tensor.isfinite()):
                    raise ValueError(f"{name}: a value is beyond the range of float16; export with float32 weights")
                tensor.copy_(half)
    return rounded
