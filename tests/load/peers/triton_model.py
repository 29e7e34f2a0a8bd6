"""The tagger in Triton's Python backend: pads the requests of one dynamic batch, and runs the graph once for them.

`BENCH_GROUP` above 0 sorts them by length first and runs groups of so many, which Triton's batcher cannot do.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

sys.path.insert(0, os.environ["PYTHONPATH"].split(os.pathsep)[0])
from graphs import Tagger, padded

GROUP = int(os.environ.get("BENCH_GROUP", "0"))


class TritonPythonModel:
    """Words `[1, time]` in, emissions `[1, time, labels]` out, for each request."""

    def initialize(self, args: dict[str, str]) -> None:
        self.graph = Tagger().graph

    def execute(self, requests: list[Any]) -> list[Any]:
        rows = [backend.get_input_tensor_by_name(request, "words").as_numpy()[0] for request in requests]
        found: list[Any] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number])) if GROUP else list(range(len(rows)))
        for first in range(0, len(order), GROUP or len(order)):
            numbers = order[first : first + (GROUP or len(order))]
            ids, lengths = padded([rows[number] for number in numbers])
            emissions = self.graph.run(["emissions"], {"words": ids, "lengths": lengths})[0]
            for row, number in enumerate(numbers):
                tensor = backend.Tensor(
                    "emissions", np.ascontiguousarray(emissions[row : row + 1, : len(rows[number])])
                )
                found[number] = backend.InferenceResponse([tensor])
        return found
