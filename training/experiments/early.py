"""Accuracy against the share of a sequence that was seen: early classification of gestures and vowels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import locate
from training.data.read import read_records
from training.data.records import LabelledSignal
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.networks.layers.recurrent import RecurrentLayer
from training.preprocessing.padded_sequences import length_mask

SHARES: Final = (0.25, 0.5, 0.75, 1.0)
#: Points in time to which a beginning is resampled for the nearest neighbour.
_POINTS: Final = 16
NEAREST: Final = "nearest neighbour"


class Way(NamedTuple):
    """Whether a network reads in both directions, and whether it is taught on beginnings as well as on wholes."""

    bidirectional: bool
    beginnings: bool


WAYS: Final = {
    "forward, wholes": Way(bidirectional=False, beginnings=False),
    "forward, every frame": Way(bidirectional=False, beginnings=True),
    "both, wholes": Way(bidirectional=True, beginnings=False),
    "both, cut anywhere": Way(bidirectional=True, beginnings=True),
}


@dataclass(frozen=True)
class Settings:
    """Train and dev are pooled, and each of `folds` parts is asked of networks that were trained on the others.

    `hidden` is the width of a direction, `noise` the deviation of what is added to inputs of deviation 1.
    """

    datasets: tuple[str, ...] = ("natops_gestures", "japanese_vowels")
    folds: int = 5
    hidden: int = 32
    batch: int = 32
    num_steps: int = 300
    learning_rate: float = 0.01
    noise: float = 0.1


class Sequences(NamedTuple):
    """`inputs` `[sequences, time, features]`, padded with zeros; `lengths` and `labels` `[sequences]`."""

    inputs: Tensor
    lengths: Tensor
    labels: Tensor

    def at(self, rows: Tensor) -> Sequences:
        """Some of the sequences."""
        return Sequences(self.inputs[rows], self.lengths[rows], self.labels[rows])


@cache
def sequences_of(dataset: str) -> Sequences:
    """All of train and dev, in that order."""
    options = NAMED_DATASETS[dataset].options
    read = [r for split in ("train", "dev") for r in read_records("classification", locate(dataset, split), options)]
    records = [record for record in read if isinstance(record, LabelledSignal)]
    names = sorted({record.label for record in records})
    inputs = nn.utils.rnn.pad_sequence([torch.from_numpy(record.values) for record in records], batch_first=True)
    lengths = torch.tensor([len(record.values) for record in records])
    return Sequences(inputs, lengths, torch.tensor([names.index(record.label) for record in records]))


def split_fold(data: Sequences, fold: int, folds: int) -> tuple[Sequences, Sequences]:
    """The sequences to learn from and those to ask, scaled by the means and deviations of the former."""
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(data.labels)))
    asked = torch.arange(len(order)) % folds == fold
    train, dev = data.at(order[~asked]), data.at(order[asked])
    frames = train.inputs[length_mask(train.lengths, train.inputs.shape[1])]
    centre, size = frames.mean(dim=0), frames.std(dim=0).clamp(min=1e-6)
    scaled = [part._replace(inputs=(part.inputs - centre) / size) for part in (train, dev)]
    return scaled[0], scaled[1]


def beginning_lengths(lengths: Tensor, share: float) -> Tensor:
    """The number of frames in a share of each sequence, rounded up."""
    return torch.ceil(lengths * share - 1e-6).long().clamp(min=1)


class EarlyClassifier(nn.Module):
    """A GRU whose final states, of one direction or of both, are classified by a linear layer."""

    def __init__(self, num_features: int, num_labels: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        self.layer = RecurrentLayer("gru", num_features, hidden, bidirectional)
        self.output = nn.Linear(self.layer.output_size, num_labels)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, labels]` logits from the first `lengths` frames."""
        logits: Tensor = self.output(self.layer.final(self.layer(inputs, lengths), lengths))
        return logits

    def after_each(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, labels]` logits after every frame, in one pass; of a forward layer only."""
        logits: Tensor = self.output(self.layer(inputs, lengths))
        return logits


def loss_of_batch(network: EarlyClassifier, way: Way, batch: Sequences, share: float) -> Tensor:
    """Cross entropy after the last frame, the mean over all frames, or after a `share` of them."""
    if way.beginnings and not way.bidirectional:
        logits = network.after_each(batch.inputs, batch.lengths)
        inside = length_mask(batch.lengths, logits.shape[1])
        return F.cross_entropy(logits[inside], batch.labels[:, None].expand(-1, logits.shape[1])[inside])
    lengths = beginning_lengths(batch.lengths, share) if way.beginnings else batch.lengths
    return F.cross_entropy(network(batch.inputs, lengths), batch.labels)


def train_network(way: Way, train: Sequences, seed: int, num_labels: int, settings: Settings) -> EarlyClassifier:
    """A network trained in one way."""
    with seeded(seed) as generator:
        network = EarlyClassifier(train.inputs.shape[2], num_labels, settings.hidden, way.bidirectional)

        def loss_of(_step: int) -> Tensor:
            batch = train.at(torch.randint(len(train.labels), (settings.batch,), generator=generator))
            noise = settings.noise * torch.randn(batch.inputs.shape, generator=generator)
            share = float(torch.rand((), generator=generator))
            return loss_of_batch(network, way, batch._replace(inputs=batch.inputs + noise), share)

        fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate))
    return network.eval()


@torch.no_grad()
def accuracies(network: EarlyClassifier, asked: Sequences) -> list[float]:
    """Percent of the labels that are right after each share."""
    answers = [network(asked.inputs, beginning_lengths(asked.lengths, share)).argmax(dim=1) for share in SHARES]
    return [100 * float((answer == asked.labels).float().mean()) for answer in answers]


def nearest_accuracies(train: Sequences, asked: Sequences) -> list[float]:
    """Percent right of the label of the nearest beginning of train, by squared distance of resampled frames."""
    found = []
    for share in SHARES:
        known, new = (_resampled(part, share) for part in (train, asked))
        nearest = np.stack([np.square(known - each).sum(axis=1) for each in new]).argmin(axis=1)
        found.append(100 * float(np.mean(train.labels.numpy()[nearest] == asked.labels.numpy())))
    return found


def _resampled(data: Sequences, share: float) -> NDArray[np.float32]:
    lengths = beginning_lengths(data.lengths, share).tolist()
    places = [np.linspace(0, length - 1, _POINTS).round().astype(int) for length in lengths]
    return np.stack([row[at].ravel() for row, at in zip(data.inputs.numpy(), places, strict=True)])


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train in every way on every set, and ask after every share."""
    tables, panels = [], []
    for dataset in settings.datasets:
        data = sequences_of(dataset)
        found: dict[str, list[list[float]]] = {name: [] for name in (*WAYS, NEAREST)}
        for fold in range(settings.folds):
            train, asked = split_fold(data, fold, settings.folds)
            for name, way in WAYS.items():
                network = train_network(way, train, fold + 1, int(data.labels.max()) + 1, settings)
                found[name].append(accuracies(network, asked))
            found[NEAREST].append(nearest_accuracies(train, asked))
            tell(
                f"{dataset}, fold {fold + 1}: "
                + ", ".join(f"{name} {runs[-1][-1]:.0f}" for name, runs in found.items())
            )
        tables.append(_table(dataset, found))
        panels.append(_panel(dataset, found))
    return Outcome(tables, panels)


def _by_share(runs: list[list[float]]) -> list[tuple[float, float]]:
    return [(mean(each), spread(each)) for each in map(list, zip(*runs, strict=True))]


def _table(dataset: str, found: dict[str, list[list[float]]]) -> Table:
    columns = {"network, taught on": ""}
    for share in SHARES:
        columns |= {f"after {share:.0%}": ".1f", f"± {share:.0%}": ".1f"}
    rows: list[Row] = [(name, *(value for pair in _by_share(runs) for value in pair)) for name, runs in found.items()]
    return Table(columns, rows, f"{dataset}: labels right, %, after a share of the frames; ± over parts asked")


def _panel(dataset: str, found: dict[str, list[list[float]]]) -> Panel:
    """The means as lines; their spreads, which overlap, are in the table."""
    xs = [100 * share for share in SHARES]
    lines = [Line(name, xs, [centre for centre, _ in _by_share(runs)]) for name, runs in found.items()]
    return Panel(dataset, "share of the frames seen, %", "labels right, %", lines, y_limits=(0.0, 100.0))


EARLY = Experiment(
    "early",
    "Is a class known early, or only from the whole sequence, and must a network be taught to answer early?",
    Settings(),
    Settings(datasets=("natops_gestures",), folds=2, hidden=4, batch=8, num_steps=3),
    run,
)
