"""The alignment of a transcript with its sound as a picture: the sound, the spikes of CTC, and the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import BLANK
from training.data.records import Utterance
from training.evaluation.speech.cepstra import HOP_S, log_mel

#: A token is drawn if its probability reaches this.
MIN_DRAWN: Final = 0.2
_NUM_BANDS: Final = 40


class PlacedWord(NamedTuple):
    """A word of the transcript and its place in seconds."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Alignment:
    """What a network gave for one utterance.

    `probabilities` are `[steps, tokens]`, None for a network that is no CTC; `step_s` is 0 where it is unknown.
    """

    record: Utterance
    words: Sequence[PlacedWord]
    tokens: Sequence[str]
    probabilities: NDArray[np.float32] | None
    step_s: float


@dataclass
class RecordingRunner:
    """A `Runner` that keeps the log-probabilities of the encoder, of one input that is run alone."""

    runner: Runner
    parts: list[Array] = field(default_factory=list)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph, and keep `log_probs` `[1, steps, tokens]` of `encoder`."""
        outputs = self.runner.run(graph, feeds)
        if graph == "encoder" and "log_probs" in outputs:
            self.parts.append(outputs["log_probs"][0])
        return outputs

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """`[steps, tokens]` over all calls; None if there was none."""
        return np.exp(np.concatenate(self.parts)).astype(np.float32) if self.parts else None


def draw_alignment(alignment: Alignment, picture: Path) -> None:
    """Draw log energies (or frames), the probabilities of tokens, and the places of words, over the same time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = alignment.record.values
    is_sound = alignment.record.kind == "waveform"
    duration = _duration(alignment)
    figure, (above, middle, below) = pyplot.subplots(
        3, 1, figsize=(min(20, max(6, 2 * duration)), 5), sharex=True, height_ratios=(3, 3, 1), layout="constrained"
    )
    image = log_mel(rows, alignment.record.sample_rate_hz, _NUM_BANDS) if is_sound else rows
    above.imshow(image.T, origin="lower", aspect="auto", cmap="magma", extent=(0, duration, 0, image.shape[1]))
    above.set_ylabel("mel band" if is_sound else "feature")
    _draw_spikes(middle, alignment)
    _draw_words(below, alignment.words)
    below.set_xlim(0, duration)
    below.set_xlabel("seconds" if is_sound or alignment.step_s else "steps")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _duration(alignment: Alignment) -> float:
    """In seconds, or in steps where no rate is known."""
    record = alignment.record
    if record.kind == "waveform":
        return max(HOP_S, len(record.values) / record.sample_rate_hz)
    steps = 1 if alignment.probabilities is None else len(alignment.probabilities)
    return steps * (alignment.step_s or 1.0)


def _draw_spikes(axis: Any, alignment: Alignment) -> None:
    axis.set_ylim(0, 1.15)
    axis.set_ylabel("probability")
    found = alignment.probabilities
    if found is None:
        axis.text(0.5, 0.5, "no probabilities of CTC", ha="center", va="center", transform=axis.transAxes)
        return
    times = (np.arange(len(found)) + 0.5) * (alignment.step_s or 1.0)
    axis.plot(times, found[:, BLANK], color="0.75", linewidth=0.8, linestyle=":", label="blank")
    for token in map(int, np.flatnonzero(found.max(axis=0) >= MIN_DRAWN)):
        if token != BLANK:
            (line,) = axis.plot(times, found[:, token], linewidth=1.0)
            for peak in spikes(found[:, token]):
                place, name = (times[peak], found[peak, token] + 0.03), plain(alignment.tokens[token])
                axis.text(*place, name, ha="center", fontsize=7, color=line.get_color(), clip_on=True)
    axis.legend(loc="upper right", fontsize=7, frameon=False)


def spikes(probabilities: NDArray[np.float32], least: float = MIN_DRAWN) -> list[int]:
    """The highest step of each run of steps in which a token has at least this probability."""
    high = np.flatnonzero(probabilities >= least)
    runs = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1) if len(high) else []
    return [int(run[probabilities[run].argmax()]) for run in runs]


def _draw_words(axis: Any, words: Sequence[PlacedWord]) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    for word in words:
        axis.axvspan(word.start_s, word.end_s, color="tab:blue", alpha=0.25)
        axis.text(
            (word.start_s + word.end_s) / 2, 0.5, plain(word.word), ha="center", va="center", fontsize=8, clip_on=True
        )


def plain(token: str) -> str:
    """A token as matplotlib shows it: `$` would start a formula, and a space would not be seen."""
    return token.replace("$", r"\$").replace(" ", "_")
