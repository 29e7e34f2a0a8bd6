"""The original GRU (Cho et al. 2014), whose reset gate is applied before the recurrent product.

    here          new = tanh(W x + R (reset * state) + b)
    torch, cuDNN  new = tanh(W x + reset * (R state + b))

torch only has the second form. This one has parameters of the same names and shapes, and is a loop in Python: an epoch
takes about twice as long on a CPU. ONNX has both forms; onnxruntime's CUDA provider only has torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResetBeforeGRU(nn.GRU):
    """One layer, one direction, batch first; gates in torch's order r, z, n."""

    def forward(self, inputs: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`[batch, time, input]`, `[1, batch, hidden]` -> `[batch, time, hidden]`, `[1, batch, hidden]`."""
        if before is None:
            before = inputs.new_zeros(1, inputs.shape[0], self.hidden_size)
        return reset_before_gru(inputs, before, self.all_weights[0])


def reset_before_gru(inputs: Tensor, before: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same from weights in the order of torch's kernels: input and hidden weight, input and hidden bias."""
    input_weight, hidden_weight, input_bias, hidden_bias = weights
    width = before.shape[2]
    gates_weight, new_weight = hidden_weight[: 2 * width], hidden_weight[2 * width :]
    # The input products of all steps are computed at once.
    from_inputs = F.linear(inputs, input_weight, input_bias + hidden_bias).unbind(dim=1)
    state, outputs = before[0], []
    for step in from_inputs:
        reset, update = torch.sigmoid(step[:, : 2 * width] + F.linear(state, gates_weight)).chunk(2, dim=1)
        new = torch.tanh(step[:, 2 * width :] + F.linear(reset * state, new_weight))
        state = new + update * (state - new)
        outputs.append(state)
    return torch.stack(outputs, dim=1), state.unsqueeze(0)
