"""The extension for classification: the largest of an output's last axis as texts `score:index:label`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.api.protocols.open_inference.tensors.messages import BYTES, Tensor, texts
from service.errors import InvalidInput


def ranked_classes(tensor: Tensor, num_classes: int, labels: Sequence[str]) -> Tensor:
    """The best of each row of scores, the best first: `[..., classes]`. Without labels, `score:index`.

    Raises:
        InvalidInput: the output is one of texts, or has no axis to rank.
    """
    if tensor.datatype == BYTES or len(tensor.shape) < 2:
        message = "there is nothing to rank in it: ask for the classes of an output with a score for each label"
        raise InvalidInput(message, ("outputs", tensor.name))
    scores = tensor.array
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :num_classes]
    values = np.take_along_axis(scores, best, axis=-1)
    written = [
        f"{value:f}:{index}" + (f":{labels[index]}" if labels else "")
        for value, index in zip(values.reshape(-1).tolist(), best.reshape(-1).tolist(), strict=True)
    ]
    return texts(tensor.name, written, best.shape)
