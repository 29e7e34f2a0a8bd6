"""The registry of experiments."""

from __future__ import annotations

from training.experiments.ablation import ABLATION
from training.experiments.adding import ADDING
from training.experiments.agreement import AGREEMENT
from training.experiments.cells import CELLS
from training.experiments.clipping import CLIPPING
from training.experiments.copy_memory import COPY_MEMORY
from training.experiments.directions import DIRECTIONS
from training.experiments.early import EARLY
from training.experiments.gradients import GRADIENTS
from training.experiments.harness.outcome import AnyExperiment
from training.experiments.hello import HELLO
from training.experiments.seq2seq.attention import ATTENTION
from training.experiments.seq2seq.looking import LOOKING
from training.experiments.seq2seq.scan import SCAN
from training.experiments.speech.fusion import FUSION
from training.experiments.speech.resolution import RESOLUTION
from training.experiments.speech.spikes import SPIKES
from training.experiments.speech.transducers import TRANSDUCERS
from training.experiments.truncation import TRUNCATION

_ALL: tuple[AnyExperiment, ...] = (
    HELLO,
    CELLS,
    ADDING,
    COPY_MEMORY,
    AGREEMENT,
    GRADIENTS,
    CLIPPING,
    TRUNCATION,
    ATTENTION,
    LOOKING,
    SCAN,
    DIRECTIONS,
    EARLY,
    ABLATION,
    SPIKES,
    TRANSDUCERS,
    FUSION,
    RESOLUTION,
)

EXPERIMENTS: dict[str, AnyExperiment] = {experiment.name: experiment for experiment in _ALL}
