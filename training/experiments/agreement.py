"""Subject-verb agreement over a distance: "The cats, which near the house already ate, ... were full."."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import Cell
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import Probe

NOUNS = ("cat", "dog", "bird", "child", "king", "tree", "house", "river")
PREPOSITIONS = ("near", "behind", "beside", "under")
ADVERBS = ("already", "often", "never", "still", "perhaps")
PASTS = ("ate", "saw", "heard", "followed")
VERB, TAIL = "___", ("full", "of", "joy")
WORDS = ("the", VERB, *TAIL, "which", *PREPOSITIONS, *ADVERBS, *PASTS, *NOUNS, *(f"{noun}s" for noun in NOUNS))
NUMBER = {word: index for index, word in enumerate(WORDS)}

NETWORKS: dict[str, tuple[Cell, bool]] = {
    "Elman": ("rnn", False),
    "GRU": ("gru", False),
    "LSTM": ("lstm", False),
    "Elman, both directions": ("rnn", True),
    "LSTM, both directions": ("lstm", True),
}


@dataclass(frozen=True)
class Settings:
    """Distances are numbers of words between subject and verb."""

    distances: tuple[int, ...] = (5, 10, 20, 40)
    max_mixed: int = 20
    seeds: int = 1
    hidden: int = 32
    batch: int = 64
    num_steps: int = 250
    learning_rate: float = 0.005
    num_asked: int = 1000


def words_between(num_words: int, draw: Random) -> list[str]:
    """Exactly `num_words` words: adverbs, and phrases with distractor nouns, singular or plural."""
    words: list[str] = []
    while len(words) < num_words:
        room = num_words - len(words)
        if room >= 4 and draw.random() < 0.4:
            words += ["which", draw.choice(PASTS), "the", some_noun(draw, plural=draw.random() < 0.5)]
        elif room >= 3 and draw.random() < 0.7:
            words += [draw.choice(PREPOSITIONS), "the", some_noun(draw, plural=draw.random() < 0.5)]
        else:
            words.append(draw.choice(ADVERBS))
    return words


def some_noun(draw: Random, plural: bool) -> str:
    """A random noun, plural or singular."""
    return draw.choice(NOUNS) + ("s" if plural else "")


def agreement_batch(batch: int, distance: int, draw: Random) -> tuple[Tensor, Tensor]:
    """Ids `[batch, distance + 6]` with the verb left out at `distance + 2`, and whether it is plural, `[batch]`."""
    plural = [draw.randrange(2) for _ in range(batch)]
    sentences = [["the", some_noun(draw, bool(each)), *words_between(distance, draw), VERB, *TAIL] for each in plural]
    ids = [[NUMBER[word] for word in sentence] for sentence in sentences]
    return torch.tensor(ids), torch.tensor(plural)


def _train(name: str, seed: int, distances: Sequence[int], settings: Settings) -> Probe:
    """A network trained on sentences with these distances, one distance per update."""
    cell, bidirectional = NETWORKS[name]
    draw = Random(seed)
    with seeded(seed):
        embedding = nn.Embedding(len(WORDS), 16)
        network = Probe(cell, embedding, 16, settings.hidden, 2, bidirectional=bidirectional)

        def loss_of(_step: int) -> Tensor:
            distance = draw.choice(distances)
            ids, plural = agreement_batch(settings.batch, distance, draw)
            return F.cross_entropy(network(ids)[:, distance + 2], plural)

        fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate))
    return network


@torch.no_grad()
def _accuracy(network: Probe, distance: int, num_asked: int) -> float:
    """Percentage of verbs with the right number, on sentences that are not used in training."""
    ids, plural = agreement_batch(num_asked, distance, Random(-1))
    return 100 * float((network(ids)[:, distance + 2].argmax(dim=1) == plural).float().mean())


def _trained_at_each_distance(name: str, seed: int, settings: Settings) -> list[float]:
    """Accuracy by distance, of networks each trained at that distance only."""
    networks = [_train(name, seed, [distance], settings) for distance in settings.distances]
    pairs = zip(networks, settings.distances, strict=True)
    return [_accuracy(network, distance, settings.num_asked) for network, distance in pairs]


def _trained_on_short_distances(name: str, seed: int, settings: Settings) -> list[float]:
    """Accuracy by distance, of one network trained on all distances up to a limit."""
    network = _train(name, seed, range(settings.max_mixed + 1), settings)
    return [_accuracy(network, distance, settings.num_asked) for distance in settings.distances]


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train every network both ways with every seed, and measure it at every distance."""
    ways = {
        "Taught at the distance asked, and no other": _trained_at_each_distance,
        f"Taught at all distances up to {settings.max_mixed}": _trained_on_short_distances,
    }
    columns = {"network": ""} | {f"{distance} words": ".1f" for distance in settings.distances}
    tables, panels = [], []
    for title, way in ways.items():
        rows: list[Row] = []
        lines = []
        for name in NETWORKS:
            by_seed = [way(name, seed, settings) for seed in range(1, settings.seeds + 1)]
            by_distance = list(zip(*by_seed, strict=True))
            means = [mean(values) for values in by_distance]
            rows.append((name, *means))
            lines.append(Line(name, settings.distances, means, [spread(values) for values in by_distance]))
            tell(f"{name}: " + ", ".join(f"{value:.1f}" for value in means))
        tables.append(Table(columns, rows, f"{title}; verbs right, %"))
        x_label = "words between subject and verb"
        panels.append(Panel(title, x_label, "verbs right, %", lines, levels={"guessing": 50.0}, y_limits=(40, 103)))
    return Outcome(tables, panels)


AGREEMENT = Experiment(
    "agreement",
    "Over how many words does a verb remember its subject?",
    Settings(),
    Settings(distances=(1, 4), max_mixed=4, seeds=1, hidden=8, batch=8, num_steps=4, num_asked=20),
    run,
)
