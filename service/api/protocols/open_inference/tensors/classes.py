"""The extension for classification: the largest of an output's last axis as texts `score:index:label`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.api.protocols.open_inference.tensors.messages import BYTES, RequestedOutput, Tensor, TensorMetadata, texts
from service.errors import InvalidInput


def require_scores(outputs: Sequence[RequestedOutput], known: Sequence[TensorMetadata]) -> None:
    """Raises InvalidInput if classes are asked for of an output that is of texts, or has no axis to rank."""
    ranked = [output.name for output in outputs if output.num_classes]
    if ranked:
        rankable = [tensor.name for tensor in known if tensor.datatype != BYTES and len(tensor.shape) > 1]
        for name in ranked:
            if name not in rankable:
                there_are = ", ".join(rankable) or "none"
                message = f"there is nothing to rank in it; outputs of scores are: {there_are}"
                raise InvalidInput(message, ("outputs", name))


def ranked_classes(tensor: Tensor, num_classes: int, labels: Sequence[str]) -> Tensor:
    """The best of each row of scores, the best first: `[..., classes]`. Without labels, `score:index`."""
    scores = tensor.array
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :num_classes]
    values = np.take_along_axis(scores, best, axis=-1)
    written = [
        f"{value:f}:{index}" + (f":{labels[index]}" if labels else "")
        for value, index in zip(values.reshape(-1).tolist(), best.reshape(-1).tolist(), strict=True)
    ]
    return texts(tensor.name, written, best.shape)
