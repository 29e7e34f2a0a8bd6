"""The model code that all peers share: pad, run a graph of the bundle, split. Only the servers differ.

Needs only numpy and onnxruntime, so that each peer has its own environment. Settings are environment variables:
`BENCH_MODELS` (folder of bundles), `BENCH_PORT`, `BENCH_MAX_BATCH`, `BENCH_WAIT_MS`, `BENCH_WORKERS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Must be set before the import: the official builds of onnxruntime send usage telemetry otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

BOS = 2
PORT = int(os.environ.get("BENCH_PORT", "8000"))
MAX_BATCH = int(os.environ.get("BENCH_MAX_BATCH", "4"))
WAIT_MS = float(os.environ.get("BENCH_WAIT_MS", "1"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))

Array = np.ndarray[Any, Any]
State = dict[str, Array]


def open_graph(file: Path, bf16: bool = False) -> ort.InferenceSession:
    """Open one graph on the CPU with one thread; bf16 uses the OpenVINO provider."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    cpu: list[Any] = ["CPUExecutionProvider"]
    if not bf16:
        return ort.InferenceSession(str(file), options, providers=cpu)
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"}
    chosen = {"device_type": "CPU", "precision": "ACCURACY", "load_config": json.dumps({"CPU": settings})}
    return ort.InferenceSession(str(file), options, providers=[("OpenVINOExecutionProvider", chosen), *cpu])


def padded(rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Return ids `[batch, longest]`, padded with zeros, and lengths `[batch]`."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.zeros((len(rows), int(lengths.max())), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return ids, lengths


class Tagger:
    """Maps rows of word ids to rows of label ids in one run."""

    def __init__(self, file: str = "tagger.onnx", bf16: bool = False) -> None:
        self.graph = open_graph(_bundle("bench-tagger") / file, bf16)

    def tag(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        ids, lengths = padded(rows)
        emissions = self.graph.run(["emissions"], {"words": ids, "lengths": lengths})[0]
        labels = emissions.argmax(-1)
        return [row[:length].tolist() for row, length in zip(labels, lengths, strict=True)]


class LanguageModel:
    """Greedy decoding; state is `[layers, batch, width]` by name."""

    LAYERS, WIDTH = 2, 512

    def __init__(self, file: str = "step.onnx", bf16: bool = False) -> None:
        folder = _bundle("bench-generator")
        self.prompt, self.one_step = open_graph(folder / "prompt.onnx"), open_graph(folder / file, bf16)

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[Array, State]:
        """Return the token after each prompt `[batch]`, and the state."""
        ids, lengths = padded(rows)
        zeros = np.zeros((self.LAYERS, len(rows), self.WIDTH), np.float32)
        feeds = {"tokens": ids, "lengths": lengths, "hidden": zeros, "cell": zeros}
        logits, hidden, cell = self.prompt.run(["logits", "next_hidden", "next_cell"], feeds)
        last = logits[np.arange(len(rows)), lengths - 1]
        return last.argmax(-1), {"hidden": hidden, "cell": cell}

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Return the next token of each row, and the new state."""
        outputs = ["logits", "next_hidden", "next_cell"]
        logits, hidden, cell = self.one_step.run(outputs, {"token": tokens, **state})
        return logits.argmax(-1), {"hidden": hidden, "cell": cell}


class Translator:
    """Greedy decoding with attention over the encoder memory."""

    def __init__(self) -> None:
        folder = _bundle("bench-translator")
        self.encoder, self.decoder = open_graph(folder / "encoder.onnx"), open_graph(folder / "decoder_step.onnx")

    def translate(self, rows: Sequence[Sequence[int]], num_steps: int) -> Array:
        """Return target ids `[batch, num_steps]`."""
        ids, lengths = padded(rows)
        outputs = ["memory", "memory_keys", "next_hidden"]
        memory, keys, hidden = self.encoder.run(outputs, {"tokens": ids, "lengths": lengths})
        fixed = {"memory": memory, "memory_keys": keys, "lengths": lengths}
        token = np.full(len(rows), BOS, np.int64)
        steps = []
        for _ in range(num_steps):
            feeds = {"token": token, "hidden": hidden, **fixed}
            logits, hidden = self.decoder.run(["logits", "next_hidden"], feeds)
            token = logits.argmax(-1)
            steps.append(token)
        return np.stack(steps, axis=1)


def _bundle(name: str) -> Path:
    return Path(os.environ["BENCH_MODELS"]) / name / "1"
