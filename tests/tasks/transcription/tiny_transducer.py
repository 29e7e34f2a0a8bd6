"""The predictor and the joint network of a transducer in numpy, with random weights, for tests of decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, TensorSpec
from service.tasks.core.probabilities import log_softmax
from service.tasks.core.task import Array
from tests.tasks.transcription.builders import LevelRunner, speech_bundle

VOCABULARY, WIDTH, HIDDEN = 6, 5, 7


def _float32(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


PREDICTOR = GraphSpec(
    file="predictor.onnx",
    inputs=(
        TensorSpec(name="token", dtype="int64", shape=("batch",)),
        _float32("predictor_hidden", 1, "batch", HIDDEN),
    ),
    outputs=(_float32("predicted", "batch", WIDTH), _float32("next_predictor_hidden", 1, "batch", HIDDEN)),
)
JOINT = GraphSpec(
    file="joint.onnx",
    inputs=(_float32("encoded", "batch", WIDTH), _float32("predicted", "batch", WIDTH)),
    outputs=(_float32("log_probs", "batch", VOCABULARY),),
)


class TinyTransducer:
    """A runner that counts its runs by graph; in `rows` the rows of all runs."""

    def __init__(self, seed: int, blank_bias: float = 1.5) -> None:
        random = np.random.default_rng(seed)
        self._embedding = random.normal(size=(VOCABULARY, HIDDEN))
        self._recurrent = random.normal(size=(HIDDEN, HIDDEN)) / 2
        self._projection = random.normal(size=(HIDDEN, WIDTH))
        self._output = random.normal(size=(WIDTH, VOCABULARY)) * 2
        self._bias = np.eye(VOCABULARY)[0] * blank_bias
        self.runs = {"predictor": 0, "joint": 0}
        self.rows = {"predictor": 0, "joint": 0}

    def silence(self, num_steps: int) -> Array:
        """Outputs of an encoder that saturate the joint network where the blank is most probable."""
        return _as_floats(np.tile(100 * np.sign(self._output[:, 0]), (num_steps, 1)))

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        first = feeds["token" if graph == "predictor" else "encoded"]
        self.runs[graph] += 1
        self.rows[graph] += len(first)
        if graph == "predictor":
            hidden = np.tanh(self._embedding[first] + feeds["predictor_hidden"][0] @ self._recurrent)
            return {
                "predicted": _as_floats(hidden @ self._projection),
                "next_predictor_hidden": _as_floats(hidden[None]),
            }
        logits = np.tanh(first + feeds["predicted"]) @ self._output + self._bias
        return {"log_probs": _as_floats(log_softmax(logits))}


def _as_floats(values: Array) -> Array:
    return np.asarray(values, dtype=np.float32)


class TinyRecogniser(TinyTransducer):
    """The same with an encoder, for `transducer_bundle`: numbers of what `LevelRunner` gives."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if graph != "encoder":
            return super().run(graph, feeds)
        outputs = LevelRunner().run(graph, feeds)
        log_probs = outputs.pop("log_probs")
        return {**outputs, "encoded": (log_probs[:, :, -WIDTH:] + 2) / 2}


def transducer_bundle() -> Bundle:
    """A streaming bundle for `TinyRecogniser`."""
    bundle = speech_bundle()
    options = bundle.manifest.options.model_copy(update={"decoder": "transducer", "max_symbols_per_step": 2})
    encoder = bundle.manifest.graphs["encoder"]
    after = tuple(output for output in encoder.outputs if output.name != "log_probs")
    encoder = encoder.model_copy(update={"outputs": (_float32("encoded", "batch", "steps", WIDTH), *after)})
    graphs = {"encoder": encoder, "predictor": PREDICTOR, "joint": JOINT}
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"options": options, "graphs": graphs}))
