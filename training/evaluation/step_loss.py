"""Loss of a language model through its step graph, the one that generates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.bundle.load import Bundle
from service.errors import UnrollError
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Runner
from training.evaluation.scoring import negative_log_likelihoods

#: Texts are read as this many parallel streams, each from a zero state.
NUM_STREAMS = 32


def step_loss(bundle: Bundle, runner: Runner, texts: Sequence[str], num_streams: int = NUM_STREAMS) -> float:
    """Mean nats per token of the concatenated `texts` through the graph `step`.

    Raises:
        UnrollError: the texts are too short to predict anything.
    """
    ids = [token for text in texts for token in bundle.tokenizers["text"].encode(text)]
    num_streams = max(1, min(num_streams, len(ids) // 2))
    num_steps = len(ids) // num_streams
    if num_steps < 2:
        raise UnrollError("the dev text is too short: a loss needs at least two tokens")
    streams = np.asarray(ids[: num_streams * num_steps], dtype=np.int64).reshape(num_streams, num_steps)
    specs = bundle.manifest.state
    state, nats = RecurrentState.zeros(specs, num_streams), 0.0
    for step in range(num_steps - 1):
        outputs = runner.run("step", {"token": np.ascontiguousarray(streams[:, step]), **state.arrays})
        state = RecurrentState.from_outputs(specs, outputs)
        nats += float(negative_log_likelihoods(outputs["logits"], streams[:, step + 1]).sum())
    return nats / (num_streams * (num_steps - 1))
