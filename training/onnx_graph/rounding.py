"""Half-precision weights: round the network first, so that torch and the graphs compute from the same numbers."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def round_to_half(network: NetworkT) -> NetworkT:
    """A copy of `network`, still float32, whose every weight is a value that float16 can hold. Ties are kept.

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
