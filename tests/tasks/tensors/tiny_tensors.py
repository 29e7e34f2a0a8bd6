"""Hand-made bundles of named arrays: small recurrent graphs with random weights, as foreign models have them.

path = write_tensors_bundle(tmp_path / "models", "lstm")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from service.bundle.manifest import GraphSpec, Limits, Manifest, StateSpec, TensorSpec
from service.bundle.task_options import TensorNote, TensorsOptions
from tests.tiny_bundles import write_tiny_bundle
from tests.tiny_graph import EMBEDDING, HIDDEN, Graph, floats, ids

WIDTH, SIZE, NUM_IDS, FIXED, WIDE = 3, 2, 7, 5, 8192
MAX_STEPS = 40
LENGTHS = ids("lengths", "batch")
_X, _Y = floats("x", "batch", "time", WIDTH), floats("z", "batch", "time", SIZE)
_LAST = floats("last", "batch", SIZE)
_STATE_NAMES = ("h0", "c0")
_STATE = tuple(StateSpec(name=name, next_name=f"{name}_out", layers=1, width=HIDDEN) for name in _STATE_NAMES)

#: Adds nodes to a graph; returns its inputs, its outputs, its state and its options.
_Parts = tuple[list[TensorSpec], list[TensorSpec], tuple[StateSpec, ...], dict[str, Any]]


def lstm(graph: Graph) -> _Parts:
    """An LSTM that takes and returns its state, and is told the lengths."""
    y, h, c = graph.recurrent("LSTM", graph.time_first("x", "steps"), WIDTH, graph.int32_lengths(), _STATE_NAMES)
    _heads(graph, y, h)
    for value, spec in zip((h, c), _STATE, strict=True):
        graph.node("Identity", [value], spec.next_name)
    before, after = [[floats(name, 1, "batch", HIDDEN) for name in names] for names in zip(*_names(), strict=True)]
    notes = {"x": TensorNote(description="acceleration, m/s^2"), "z": TensorNote(description="torque, Nm")}
    return [_X, LENGTHS, *before], [_Y, _LAST, *after], _STATE, {"notes": notes}


def masked(graph: Graph) -> _Parts:
    """A GRU without state that is told the lengths."""
    _heads(graph, *graph.recurrent("GRU", graph.time_first("x", "steps"), WIDTH, graph.int32_lengths()))
    return [_X, LENGTHS], [_Y, _LAST], (), {}


def equal(graph: Graph) -> _Parts:
    """A GRU that knows no lengths: `last` would be that of the padding."""
    _heads(graph, *graph.recurrent("GRU", graph.time_first("x", "steps"), WIDTH))
    return [_X], [_Y, _LAST], (), {"equal_lengths": True}


def labels(graph: Graph) -> _Parts:
    """Ids in, logits and their best id out."""
    y, *_ = graph.recurrent("GRU", graph.time_first(graph.embedding("word", "tokens", NUM_IDS), "steps"), EMBEDDING)
    logits = graph.dense(graph.batch_first(y, "states"), HIDDEN, SIZE, "logits")
    graph.node("ArgMax", [logits], "best", axis=2, keepdims=0)
    outputs = [floats("logits", "batch", "time", SIZE), ids("best", "batch", "time")]
    options = {"equal_lengths": True, "notes": {"tokens": TensorNote(minimum=0, maximum=NUM_IDS - 1)}}
    return [ids("tokens", "batch", "time")], outputs, (), options


def unbounded(graph: Graph) -> _Parts:
    """Ids that nobody bounds: the graph itself fails for those that its embedding has no row for."""
    inputs, outputs, state, _ = labels(graph)
    return inputs, outputs, state, {"equal_lengths": True}


def several(graph: Graph) -> _Parts:
    """Two inputs over time, one of bytes; one that is not over time; and a number."""
    pixels = graph.node("Cast", ["pixels"], "pixel_numbers", to=TensorProto.FLOAT)
    both = graph.node("Concat", ["x", pixels], "both", axis=2)
    y, h = graph.recurrent("GRU", graph.time_first(both, "steps"), WIDTH + 4, graph.int32_lengths())
    graph.dense(graph.batch_first(y, "states"), HIDDEN, SIZE, "z")
    last = graph.node("Squeeze", [h, graph.constant("direction", [0])], "last_state")
    mixed = graph.node("Concat", [last, "context"], "mixed", axis=1)
    total = graph.node("ReduceSum", [mixed, graph.constant("axis", [1])], "total", keepdims=0)
    graph.node("Mul", [total, "rate"], "score")
    pixels_spec = TensorSpec(name="pixels", dtype="uint8", shape=("batch", "time", 4))
    inputs = [_X, pixels_spec, floats("context", "batch", 2), floats("rate", "batch"), LENGTHS]
    return inputs, [_Y, floats("score", "batch")], (), {}


def fixed(graph: Graph) -> _Parts:
    """A graph that takes one number of steps."""
    y, h = graph.recurrent("GRU", graph.time_first("x", "steps"), WIDTH)
    _heads(graph, y, h)
    inputs, outputs = [floats("x", "batch", FIXED, WIDTH)], [floats("z", "batch", FIXED, SIZE), _LAST]
    return inputs, outputs, (), {"fixed_length": FIXED}


def wide(graph: Graph) -> _Parts:
    """A graph that gives many numbers for each step."""
    y, *_ = graph.recurrent("GRU", graph.time_first("x", "steps"), 1)
    graph.dense(graph.batch_first(y, "states"), HIDDEN, WIDE, "z")
    return [floats("x", "batch", "time", 1)], [floats("z", "batch", "time", WIDE)], (), {"equal_lengths": True}


def _heads(graph: Graph, y: str, h: str) -> None:
    """`z` of every step and `last` of the whole."""
    graph.dense(graph.batch_first(y, "states"), HIDDEN, SIZE, "z")
    last = graph.node("Squeeze", [h, graph.constant("direction", [0])], "last_state")
    graph.dense(last, HIDDEN, SIZE, "last")


def _names() -> list[tuple[str, str]]:
    return [(spec.name, spec.next_name) for spec in _STATE]


_GRAPHS: dict[str, Callable[[Graph], _Parts]] = {
    "lstm": lstm,
    "masked": masked,
    "equal": equal,
    "labels": labels,
    "unbounded": unbounded,
    "several": several,
    "fixed": fixed,
    "wide": wide,
}


def write_tensors_bundle(models_root: Path, kind: str, name: str = "") -> Path:
    """Write the bundle of one of the graphs above, with answers recorded from it."""

    def build(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
        graph = Graph(rng)
        inputs, outputs, state, options = _GRAPHS[kind](graph)
        spec: GraphSpec = graph.save(folder / "model.onnx", inputs, outputs)
        return Manifest(
            name=name,
            version=version,
            task="tensors",
            options=TensorsOptions(**options),
            graphs={"model": spec},
            state=state,
            limits=Limits(max_input_tokens=MAX_STEPS),
            tokenizers={},
        )

    lengths = (1,) if kind == "wide" else (4, 6)
    questions = [({"tensors": sample(kind, length)}, {}) for length in lengths]
    return write_tiny_bundle(models_root, "tensors", name or f"tiny-{kind}", build=build, questions=questions)


def sample(kind: str, length: int, seed: int = 0) -> dict[str, Any]:
    """Arrays for one of the graphs, as nested lists."""
    rng = np.random.default_rng([seed, length])
    length = FIXED if kind == "fixed" else length
    if kind == "wide":
        return {"x": rng.normal(size=(length, 1)).round(2).tolist()}
    if kind in ("labels", "unbounded"):
        return {"tokens": rng.integers(0, NUM_IDS, length).tolist()}
    arrays: dict[str, Any] = {"x": rng.normal(size=(length, WIDTH)).round(2).tolist()}
    if kind == "several":
        arrays |= {"pixels": rng.integers(0, 256, (length, 4)).tolist(), "context": [0.5, -1.0], "rate": 2.0}
    return arrays
