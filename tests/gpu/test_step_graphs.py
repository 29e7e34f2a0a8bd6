"""The two step graphs that are timed on a GPU compute the same; this needs none."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from tests.gpu.step_graphs import LAYERS, step_graph

WIDTH, BATCH = 8, 3


def test_both_forms_of_the_step_agree() -> None:
    random = np.random.default_rng(1)
    feeds = {
        "x": random.uniform(-1, 1, (1, BATCH, WIDTH)).astype(np.float32),
        "hidden": random.uniform(-1, 1, (LAYERS, BATCH, WIDTH)).astype(np.float32),
        "cell": random.uniform(-1, 1, (LAYERS, BATCH, WIDTH)).astype(np.float32),
    }
    expected, found = (
        ort.InferenceSession(
            step_graph(WIDTH, by_operator).SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, feeds)
        for by_operator in (True, False)
    )
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
